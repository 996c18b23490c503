"""The reverse process: schedules, unmasking policies, denoising, and speculation on top of it."""
