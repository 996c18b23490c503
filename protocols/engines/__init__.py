"""Where samples are generated: in this process or by workers on Ray. Never what they are, nor how they score."""
