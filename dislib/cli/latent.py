"""`python -m dislib latent`: write a start as a .latent file for ComfyUI."""

import argparse

from ..errors import printable


def add_command(commands, add_common):
    command = commands.add_parser(
        "latent", help="write a style's start as a .latent file that ComfyUI loads",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  python -m dislib latent --model TUNED --start matched --seeds 0-3 --out style.latent",
    )
    command.set_defaults(run=run)
    add_common(command)
    command.add_argument("--prior", metavar="FILE", help="the style prior; default: the one the model was fine-tuned with")
    command.add_argument("--start", choices=("white", "paper", "matched", "leak"), help="default: paper with a prior,"
                         " else white")
    command.add_argument("--seeds", default="0-7", help="such as 0-7 (default) or 0,3,12; one latent each")
    command.add_argument("--out", required=True, metavar="FILE.latent")


def run(arguments):
    """Draw z_T from the seeds and write it."""
    from ..core.latent_file import write_latent
    from ..core.latents import white_noise
    from ..core.pipeline import latent_shape, model_id
    from ..core.prior import StylePrior, first_timestep
    from ..core.sampling import resolve_start
    from ..core.schedulers import make_scheduler
    from ..files import check_output_file
    from ..images.prompts import parse_seeds
    from ..loading import load_pipeline

    seeds, out = parse_seeds(arguments.seeds), check_output_file(arguments.out, suffix=".latent")
    prior = None if arguments.prior is None else StylePrior.load(arguments.prior)
    pipe = load_pipeline(arguments.model, device=arguments.device, local_files_only=arguments.offline)
    prior, start = resolve_start(pipe, prior, arguments.start)
    scheduler = make_scheduler(pipe)  # "trailing": it starts at the last timestep, as ComfyUI's schedulers do
    t, a, _ = first_timestep(scheduler, 12)
    z = prior.start(seeds, start, scheduler=scheduler) if prior else white_noise(seeds, latent_shape(pipe))
    about = {"made by": "diffusion-in-style-course", "model": model_id(pipe), "start": start, "seeds": arguments.seeds}
    write_latent(out, z, pipe, abar=a**2, about=about)
    print(f"{printable(out)}: {len(seeds)} latents {tuple(z.shape[1:])} for the {start} start at t = {t}")
    print("In ComfyUI: put it into input/, Load Latent, KSampler (Advanced) with add_noise disabled, start_at_step 0,")
    print("a sampler without fresh noise (euler, dpmpp_2m, ddim), and the scheduler normal, simple or karras.")
    return 0
