"""A folder like `data/` with random models and a style of six pictures, for the tests of recipes."""

import json

from helpers import image_folder, save_pipeline
from small_judge import save_judge

WORDS = ["a b", "c d", "e f", "g h", "i j", "k l"]


def small_course(data):
    """Fill the folder `data`; returns it."""
    save_pipeline(data / "tiny-sd")
    save_judge(data / "judge")
    for split, seed in (("train", 0), ("test", 1)):
        folder = image_folder(data / "styles" / "sketch" / split, 6, seed=seed)
        rows = [{"file_name": f"{i:03d}.png", "text": text} for i, text in enumerate(WORDS)]
        (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (data / "prompts").mkdir()
    (data / "prompts" / "prompts.jsonl").write_text("\n".join(json.dumps({"prompt": p}) for p in WORDS))
    return data
