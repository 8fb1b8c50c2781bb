"""The way from noise to a picture: pipeline, latents, a style's prior, the sampler, and what noise leaves readable."""
