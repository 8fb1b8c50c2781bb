"""Folders of images, prompts and captions, sheets of pictures, and how pictures look; nothing here knows a model."""
