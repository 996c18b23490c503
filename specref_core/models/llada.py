"""LLaDA under today's transformers: the library's Llama without its causal mask, and the hub's names for its parts.

LLaDA is a Llama in everything but three things: attention sees both directions, the checkpoint uses OLMo's key names,
and the configuration uses OLMo's field names. So the layers here are the library's own, and this module holds the three
differences, plus two options of ours: predictions shifted by one position, for models that were initialised from a
left-to-right one, and predictions at chosen positions only.

Importing this module registers the model type ``llada`` with ``AutoConfig``, ``AutoModel``, ``AutoModelForMaskedLM``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, LlamaConfig, LlamaModel
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.modeling_outputs import MaskedLMOutput
from transformers.models.llama.modeling_llama import LlamaPreTrainedModel

from specref_core.errors import CheckpointError, InputError
from specref_core.models.checkpoint import check_weights, load_tokenizer, locate, read_config, weight_shapes
from specref_core.models.partial_encoding import encode_at, supports
from specref_core.models.quantization import quantization_config
from specref_core.models.vocabulary import check_end_tokens, check_mask_token, mask_of

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

# The hub's field (left) and the library's (right); https://huggingface.co/GSAI-ML/LLaDA-8B-Instruct/blob/main/config.json
_FIELDS = {
    "d_model": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "mlp_hidden_size": "intermediate_size",
    "max_sequence_length": "max_position_embeddings",
    "weight_tying": "tie_word_embeddings",
    "activation_type": "hidden_act",
}

# Options of the OLMo code base that LLaDA leaves off. A checkpoint that uses one would load and compute nonsense.
_UNSUPPORTED = {
    "activation_type": "silu",
    "alibi": False,
    "attention_layer_norm": False,
    "bias_for_layer_norm": False,
    "block_type": "llama",
    "include_bias": False,
    "include_qkv_bias": False,
    "input_emb_norm": False,
    "layer_norm_type": "rms",
    "layer_norm_with_affine": True,
    "multi_query_attention": False,
    "rope": True,
    "scale_logits": False,
}

# Checkpoint names to the library's. The rules are reversed on saving, so the hub's names are written back; a rule may
# hold one group only, the library keeps \2 literally.
KEY_MAPPING = {
    r"^model\.transformer\.wte\.": "model.embed_tokens.",
    r"^model\.transformer\.ln_f\.": "model.norm.",
    r"^model\.transformer\.ff_out\.": "lm_head.",
    r"^model\.transformer\.blocks\.(\d+)\.attn_norm\.": r"model.layers.\1.input_layernorm.",
    r"^model\.transformer\.blocks\.(\d+)\.ff_norm\.": r"model.layers.\1.post_attention_layernorm.",
    r"^model\.transformer\.blocks\.(\d+)\.q_proj\.": r"model.layers.\1.self_attn.q_proj.",
    r"^model\.transformer\.blocks\.(\d+)\.k_proj\.": r"model.layers.\1.self_attn.k_proj.",
    r"^model\.transformer\.blocks\.(\d+)\.v_proj\.": r"model.layers.\1.self_attn.v_proj.",
    r"^model\.transformer\.blocks\.(\d+)\.attn_out\.": r"model.layers.\1.self_attn.o_proj.",
    r"^model\.transformer\.blocks\.(\d+)\.ff_proj\.": r"model.layers.\1.mlp.gate_proj.",
    r"^model\.transformer\.blocks\.(\d+)\.up_proj\.": r"model.layers.\1.mlp.up_proj.",
    r"^model\.transformer\.blocks\.(\d+)\.ff_out\.": r"model.layers.\1.mlp.down_proj.",
}


@strict
class LladaConfig(LlamaConfig):  # type: ignore[no-untyped-call]  # the library is untyped here
    """Configuration of a LLaDA checkpoint; reads the hub's field names or the library's, writes the hub's.

    Attributes:
        mask_token_id: the token that stands for a hidden position.
        eot_token_id: the token that ends a turn; ``None`` where the model has none.
        prediction_shift: whether the hidden state at i-1 predicts token i. Off for LLaDA; on for models initialised
            from a left-to-right one (Dream, the embedded pair).
        is_causal: ``False`` makes the library's Llama bidirectional.
    """

    model_type = "llada"

    vocab_size: int = 126464
    intermediate_size: int = 12288
    max_position_embeddings: int = 4096
    rms_norm_eps: float = 1e-5
    use_cache: bool = False
    bos_token_id: int | None = None  # the hub's config.json names none
    eos_token_id: int | list[int] | None = 126081
    pad_token_id: int | None = 126081
    mask_token_id: int | None = 126336
    eot_token_id: int | None = None
    prediction_shift: bool = False
    is_causal: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        """Translate the hub's field names.

        Raises:
            CheckpointError: the configuration turns on an option that LLaDA does not have.
        """
        for name, supported in _UNSUPPORTED.items():
            if kwargs.get(name, supported) not in (supported, None):
                raise CheckpointError(
                    f"config.json has {name}={kwargs[name]!r}; this model class supports {supported!r} only"
                )
        if kwargs.get("mlp_hidden_size") is None and kwargs.get("mlp_ratio") and kwargs.get("d_model"):
            self.intermediate_size = kwargs["mlp_ratio"] * kwargs["d_model"]  # as the hub's code does
        for hub, native in _FIELDS.items():
            if (value := kwargs.pop(hub, None)) is not None:
                setattr(self, native, value)
        # The hub's code pads the embedding to `embedding_size` rows where that is set.
        self.vocab_size = kwargs.pop("embedding_size", None) or self.vocab_size
        theta = kwargs.pop("rope_theta", None)
        if self.rope_parameters is None:
            self.rope_parameters = {"rope_type": "default", "rope_theta": float(theta or 500_000.0)}
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]  # the library is untyped here

    def to_dict(self) -> dict[str, Any]:
        """Return plain data under the hub's field names."""
        plain = super().to_dict()
        for hub, native in _FIELDS.items():
            if native in plain:
                plain[hub] = plain.pop(native)
        rope = plain.pop("rope_parameters", None) or {}
        if rope.get("rope_type", "default") != "default":  # not a LLaDA of the hub; keep what cannot be translated
            plain["rope_parameters"] = rope
        plain["rope_theta"] = rope.get("rope_theta", 500_000.0)
        plain["embedding_size"] = plain.get("vocab_size")
        return plain


class LladaForMaskedLM(LlamaPreTrainedModel):  # type: ignore[no-untyped-call]  # the library is untyped here
    """A bidirectional Llama that predicts hidden tokens.

    Works with ``device_map``, quantization and ``save_pretrained`` as any model of the library does.
    """

    config_class = LladaConfig
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012  # the library's protocol

    def __init__(self, config: LladaConfig) -> None:
        super().__init__(config)
        self.model = LlamaModel(config)
        self.model.embed_tokens.padding_idx = None  # LLaDA pads with its end token, which must stay trainable
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        for layer in self.model.layers:
            layer.self_attn.is_causal = False  # the attention function's fallback when nobody passes the flag
        self.post_init()  # type: ignore[no-untyped-call]  # the library is untyped here

    def encode(
        self,
        input_ids: Tensor,
        *,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Return the hidden states that predict the tokens, before the head.

        Args:
            input_ids: (batch, length) int64.
            attention_mask: (batch, length), 0 or False at padding, on either side; ``None`` where nothing is padded.
            position_ids: (batch, length) int64; counted from each row's first real token where not given.
            positions: (batch, length) bool, the positions to predict; all where not given.

        Returns:
            (batch, length, hidden), or (n, hidden) in row-major order for n chosen positions.
        """
        if attention_mask is not None and bool(attention_mask.all()):
            attention_mask = None  # lets the attention take its unmasked, faster path
        if position_ids is None and attention_mask is not None:
            position_ids = (attention_mask.long().cumsum(dim=1) - 1).clamp_min(0)
        source = _sources(input_ids, attention_mask) if self.config.prediction_shift else None
        if positions is None:
            hidden: Tensor = self.model(
                input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=False
            ).last_hidden_state
            return hidden if source is None else hidden.take_along_dim(source[..., None], dim=1)
        rows, columns = positions.to(input_ids.device).nonzero(as_tuple=True)
        wanted = columns if source is None else source[rows, columns]
        if supports(self.model):
            return encode_at(
                self.model, input_ids, rows, wanted, attention_mask=attention_mask, position_ids=position_ids
            )
        hidden = self.model(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=False
        ).last_hidden_state
        return hidden[rows.to(hidden.device), wanted.to(hidden.device)]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        head_positions: Tensor | None = None,
        **unused: Any,  # noqa: ARG002  # see its docstring
    ) -> MaskedLMOutput:
        """Return logits: row i predicts token i, whatever ``prediction_shift`` says.

        Args:
            input_ids: (batch, length) int64.
            attention_mask: (batch, length), 0 at padding.
            position_ids: (batch, length) int64.
            labels: (batch, length) int64, -100 where nothing is to be learnt; gives the mean cross-entropy, nats.
            head_positions: (batch, length) bool; logits are computed there only and come back as (n, vocab).
            **unused: what the library passes to every model, ``return_dict`` and the like.

        Raises:
            InputError: labels together with head_positions.
        """
        if labels is not None and head_positions is not None:
            raise InputError("labels need logits everywhere: give labels or head_positions, not both")
        logits = self.lm_head(
            self.encode(input_ids, attention_mask=attention_mask, position_ids=position_ids, positions=head_positions)
        )
        loss = None if labels is None else nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
        return MaskedLMOutput(loss=loss, logits=logits)


class LoadedLlada(NamedTuple):
    """A model in evaluation mode and its tokenizer."""

    model: LladaForMaskedLM
    tokenizer: Any


class LladaFiles(NamedTuple):
    """A refiner's directory that was found sound, with nothing heavy read from it."""

    directory: Path
    config: LladaConfig
    tokenizer: Any


def check_llada(path_or_name: str | Path, *, revision: str | None = None) -> LladaFiles:
    """Check a refiner's directory by its configuration, its tokenizer and the headers of its weight files.

    Args:
        path_or_name: a directory, or a hub name.
        revision: of a hub name.

    Raises:
        CheckpointError: see :func:`load_llada`.
    """
    directory = locate(path_or_name, revision=revision)
    plain = read_config(directory, model_type="llada")
    try:
        config = LladaConfig.from_dict(plain)
    except CheckpointError:
        raise
    except Exception as error:  # the library raises whatever a damaged field leads to
        raise CheckpointError(f"{directory / 'config.json'}: {error}") from error
    tokenizer = load_tokenizer(directory)
    # Where the file is silent, the class's defaults, the published model's, are no better than a guess.
    if "mask_token_id" not in plain:
        config.mask_token_id = mask_of(tokenizer)
    if "eos_token_id" not in plain:
        config.eos_token_id = tokenizer.eos_token_id
    check_end_tokens(directory, plain.get("eos_token_id"), tokenizer)
    _settle_tokens(config, tokenizer, directory)
    if plain.get("quantization_config") is None:
        check_weights(directory, _expected_shapes(config, directory))
    else:
        weight_shapes(directory)  # packed weights have other shapes; the files must be whole all the same
    return LladaFiles(directory, config, tokenizer)


def load_llada(
    path_or_name: str | Path,
    *,
    dtype: str | torch.dtype = "auto",
    device_map: str | dict[str, Any] | None = None,
    quantization: Literal["4bit", "8bit"] | None = None,
    revision: str | None = None,
) -> LoadedLlada:
    """Load a checkpoint in the hub's LLaDA layout, every weight accounted for, without remote code.

    Args:
        path_or_name: a directory, or a hub name such as ``GSAI-ML/LLaDA-8B-Instruct``.
        dtype: of the weights; ``auto`` takes the checkpoint's.
        device_map: as the library's: ``auto`` splits the model over the visible GPUs.
        quantization: load the linear layers in 4 or 8 bits with bitsandbytes.
        revision: of a hub name.

    Raises:
        CheckpointError: a file, weight or token is missing, unexpected or of the wrong shape.
        InputError: quantization is asked for and bitsandbytes is not installed.
    """
    packing = quantization_config(quantization)
    directory, config, tokenizer = check_llada(path_or_name, revision=revision)
    try:
        loaded: Any = LladaForMaskedLM.from_pretrained(
            directory,
            config=config,
            dtype=dtype,
            device_map=device_map,
            quantization_config=packing,
            output_loading_info=True,
        )
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"{directory}: the weights do not fit into the device's memory; spread them over more devices with "
            "device_map='auto', give dtype='bfloat16', or load with quantization='4bit'"
        ) from error
    except Exception as error:  # safetensors, torch and transformers each raise their own kinds here
        raise CheckpointError(f"{directory}: the weights cannot be loaded ({type(error).__name__}: {error})") from error
    model, report = loaded
    for kind, keys in report.items():
        if keys:
            raise CheckpointError(f"{directory}: the library reports {kind}: {sorted(map(str, keys))[:3]}")
    return LoadedLlada(model.eval(), tokenizer)


def _expected_shapes(config: LladaConfig, directory: Path) -> dict[str, tuple[int, ...]]:
    """Return the checkpoint's keys and shapes, from the model built without memory."""
    try:
        with torch.device("meta"):
            shapes = {name: tuple(weight.shape) for name, weight in LladaForMaskedLM(config).state_dict().items()}
    except Exception as error:  # whatever the layers make of a size that cannot be
        raise CheckpointError(f"{directory / 'config.json'}: describes no model ({error})") from error
    if config.tie_word_embeddings:
        shapes.pop("lm_head.weight")
    return {checkpoint_key(name): shape for name, shape in shapes.items()}


def checkpoint_key(name: str) -> str:
    """Return the hub's name of a parameter, given the library's."""
    for hub, native in KEY_MAPPING.items():
        pattern = "^" + re.escape(native).replace(r"\\1", r"(\d+)")
        if re.match(pattern, name):
            plain = hub.removeprefix("^").replace(r"(\d+)", r"\1").replace(r"\.", ".")
            return re.sub(pattern, plain, name)
    raise InputError(f"{name!r} is not a parameter of this model")


def _settle_tokens(config: LladaConfig, tokenizer: Any, directory: Path) -> None:
    """Check that tokenizer and model speak of the same tokens, and fill in those that only the tokenizer knows."""
    if len(tokenizer) > config.vocab_size:
        raise CheckpointError(
            f"{directory}: the tokenizer has {len(tokenizer)} tokens, the model {config.vocab_size}; "
            "one of them is another checkpoint's"
        )
    if type(config.mask_token_id) is not int or not 0 <= config.mask_token_id < config.vocab_size:
        raise CheckpointError(
            f"{directory / 'config.json'}: mask_token_id={config.mask_token_id!r}, expected a token id below "
            f"{config.vocab_size}"
        )
    check_mask_token(directory, config.mask_token_id, tokenizer)
    if config.pad_token_id is not None and not 0 <= config.pad_token_id < config.vocab_size:
        config.pad_token_id = None  # nothing here reads it, and the library refuses to build an embedding with it
    if tokenizer.mask_token is None and config.mask_token_id < len(tokenizer):
        tokenizer.mask_token = tokenizer.convert_ids_to_tokens(config.mask_token_id)
    if config.eot_token_id is None:
        config.eot_token_id = tokenizer.get_vocab().get("<|eot_id|>")


def _sources(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Return (batch, length) int64: the position whose hidden state predicts each token under a shift.

    A row's first real token has no predecessor and is predicted from its own position.
    """
    columns = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
    before = (columns - 1).clamp_min(0)
    if attention_mask is None:
        return before
    return torch.where(attention_mask.bool().gather(1, before), before, columns)


AutoConfig.register("llada", LladaConfig, exist_ok=True)
AutoModel.register(LladaConfig, LladaForMaskedLM, exist_ok=True)  # the hub's AutoModel returns logits too
AutoModelForMaskedLM.register(LladaConfig, LladaForMaskedLM, exist_ok=True)
register_checkpoint_conversion_mapping(
    "llada", [WeightRenaming(old, new) for old, new in KEY_MAPPING.items()], overwrite=True
)
