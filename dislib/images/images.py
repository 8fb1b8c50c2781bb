"""Folders of images, checked on the way in."""

import os
import re
import stat
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ..errors import DislibWarning, ImageError, shorten
from ..files import user_path

# .heic is listed so that a reader's phone photographs are named with the mend rather than passed over in silence.
SUFFIXES = frozenset(".png .jpg .jpeg .jfif .webp .bmp .gif .tif .tiff .ppm .pgm .avif .heic .heif".split())
MOST = 512  # px of a picture whose size nobody names; what judges look at is smaller
MIN_SIDE = 16  # px; below this there is nothing to enlarge
MAX_PIXELS = 178_956_970  # where Pillow itself speaks of a decompression bomb; a 100-megapixel photograph passes
# What is decoded under any of these names. Not EPS, say, for which Pillow would start another program.
FORMATS = frozenset("PNG JPEG MPO JPEG2000 WEBP BMP DIB GIF TIFF PPM AVIF HEIF".split())


class Skipped(NamedTuple):
    """A file that is not used, and why."""

    file: Path
    reason: str


class ImageList(NamedTuple):
    """The readable image files, sorted by name (2.png before 10.png), and those skipped: `files, skipped =
    list_images(folder)`."""

    files: list
    skipped: list


def list_images(folder):
    """Find the images of a folder (not of its subfolders) and decode each once to see that it is whole.

    Hidden files and files that are not named as images (`metadata.jsonl`) are passed over. An image that is
    broken, empty, animated, smaller than 16 px or a decompression bomb is skipped and named with the reason.

    Args:
        folder: path of the folder.

    Returns:
        ImageList(files, skipped): `files` sorted by name, 2.png before 10.png; `skipped` a list of `(file, reason)`.

    Raises:
        ImageError: the folder does not exist, is a file, cannot be opened, or holds no file named as an image.
    """
    folder = user_path(folder, ImageError)
    names = [name for name in _names(folder) if Path(name).suffix.lower() in SUFFIXES and name[0] != "."]
    if not names:
        raise ImageError(f"no images in {folder}{_where_else(folder)}; expected files such as .png or .jpg")
    return check_images([folder / name for name in sorted(names, key=_counted)])


def check_images(files):
    """Decode each of `files` once; returns ImageList(files, skipped) in the order given."""
    checked = [(Path(file), image_problem(file)) for file in files]
    return ImageList(
        [file for file, problem in checked if problem is None],
        [Skipped(file, problem) for file, problem in checked if problem is not None],
    )


def image_problem(file):
    """Why an image file cannot be used, in a few words; None if it can."""
    try:
        with _open(file) as image:
            # JPEG decodes at an eighth of its size for this: the same bytes are read, so a cut file is still caught.
            image.draft(None, (64, 64))
            _decode(image)
    except ImageError as error:
        return str(error)
    return None


def tell_skipped(skipped, what):
    """Warn of the files that are not used, by name and reason; `what` is what goes on without them."""
    if skipped:
        told = "; ".join(f"{shorten(file.name)} {reason}" for file, reason in skipped[:5])
        more = f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""
        warnings.warn(f"{what} goes on without {len(skipped)} files: {told}{more}", DislibWarning, stacklevel=3)


def load_image(file, size=None, *, place=0.5, most=MOST):
    """Read an image as the VAE wants it: turned as its EXIF says, RGB, centre-cropped square, `size` px.

    Transparency is laid on white, deep grey is scaled (not clipped), CMYK and palettes become RGB. The crop is
    the largest centred square, resampled bicubically with area weights when it shrinks; this equals resizing the
    short side to `size` and cropping the centre. Colour profiles are not applied.

    Args:
        file: path of the image.
        size: side of the result in pixels; by default that of the square cut out, but at most `most`.
        place: where along the longer side the square is cut out, 0 to 1; 0.5 is the centre.

    Returns:
        PIL image of mode RGB, `size` x `size` px.

    Raises:
        ImageError: the file cannot be read; the message names it and the reason.
    """
    try:
        with _open(file) as image:
            _decode(image)
            return prepare_image(image, size, place=place, most=most)
    except ImageError as error:
        raise ImageError(f"{shorten(file, 200)}: {error}") from error


def prepare_image(image, size=None, *, place=0.5, most=MOST):
    """The same treatment for a PIL image already in memory; see `load_image`."""
    image = upright_rgb(image)
    size = size or min(*image.size, most)
    # Cropping before resizing, so that a strip of 16 x 100,000 px never becomes 512 x 3,200,000.
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC, centering=(place, place))


def numbered(i, prepare, image, *rest):
    """`prepare(image, *rest)`; an ImageError names the picture by its number in a list."""
    try:
        return prepare(image, *rest)
    except ImageError as error:
        raise ImageError(f"image {i} {error}") from error


def upright_rgb(image):
    """A PIL image turned as its EXIF says and made RGB, in its own size: `load_image` but for the crop.

    Raises:
        ImageError: no PIL image, an empty one, one that cannot be decoded, or a colour mode that is not supported.
    """
    if not isinstance(image, Image.Image):
        raise ImageError(f"is no PIL picture but {type(image).__name__}; open it by PIL.Image.open or load_image")
    if 0 in image.size:
        raise ImageError(f"is {image.width} x {image.height} px; there is nothing to see")
    _check_mode(image)
    _decode(image)
    try:
        turned = ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF is no reason to lose the picture: it stays as it lies
        turned = image
    return _to_rgb(turned, unsigned=_is_unsigned(image))


def as_picture(image, index):
    """A PIL picture, turned and made RGB as files are, or a uint8 array `(h, w, 3)`; `index` is for the error message."""
    if isinstance(image, Image.Image):
        return numbered(index, upright_rgb, image)
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
        # CLIP's processor divides by 255: floats in [0, 1] would silently become a nearly black picture.
        raise ImageError(
            f"image {index} is {array.dtype} of shape {array.shape}; pass PIL pictures or uint8 arrays (h, w, 3)"
        )
    return Image.fromarray(array)


# --- images ---------------------------------------------------------------------------------------------------


def _counted(name):
    """The key that sorts 2.png before 10.png, as people do."""
    parts = re.split("([0-9]+)", name)
    return [int(part) if k % 2 else part for k, part in enumerate(parts)], name


def _names(folder):
    try:
        return os.listdir(folder)
    except FileNotFoundError as error:
        raise ImageError(f"there is no folder {folder}; check the spelling") from error
    except NotADirectoryError as error:
        raise ImageError(f"{folder} is a file; give the folder that holds the images") from error
    except OSError as error:
        raise ImageError(f"cannot open the folder {folder}: {error.strerror}") from error


def _where_else(folder):
    """A hint for the commonest mistake: the folder one level too high."""
    below = sorted(name for name in os.listdir(folder) if name[0] != "." and os.path.isdir(folder / name))
    return f" itself (it holds the folders {shorten(', '.join(below))})" if below else ""


def _open(file):
    """Open an image and refuse, by its header alone, what should not be decoded."""
    _check_file(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own bomb warning comes at half our limit
            image = Image.open(file)
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise ImageError(_unreadable(file, error)) from error
    try:
        _check_header(image)
    except ImageError:
        image.close()
        raise
    return image


def _check_file(file):
    try:
        status = os.stat(file)
    except OSError as error:
        raise ImageError(_broken_link(file, error)) from error
    if stat.S_ISDIR(status.st_mode):
        raise ImageError("is a folder, not an image")
    if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
        raise ImageError("is not a regular file")
    if status.st_size == 0:
        raise ImageError("is empty (0 bytes)")


def _broken_link(file, error):
    if not os.path.islink(file):
        return f"cannot be opened ({error.strerror})"
    target = shorten(os.readlink(file))
    return f"is a symbolic link to {target}, which does not lead to a file ({error.strerror})"


def _unreadable(file, error):
    if isinstance(error, Image.DecompressionBombError):
        return f"is a decompression bomb or too large (over {MAX_PIXELS // 10**6} megapixels); shrink it first"
    if Path(file).suffix.lower() in (".heic", ".heif"):
        return "is HEIC, which Pillow does not read; export it as JPEG"
    if isinstance(error, PermissionError):
        return "may not be read (no permission)"
    return f"is not an image Pillow can read ({type(error).__name__})"


def _check_header(image):
    if image.format not in FORMATS:
        raise ImageError(f"is {image.format}, which is not read here; export it as PNG")
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(_unreadable("", Image.DecompressionBombError()))
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"is {width} x {height} px; at least {MIN_SIDE} x {MIN_SIDE} is needed")
    # Some cameras store a second, hidden picture in a JPEG, which Pillow then calls MPO: still a photograph.
    if image.format != "MPO" and (frames := _frames(image)) > 1:
        raise ImageError(f"is animated or has several pages ({frames}); export one of them as PNG")
    _check_mode(image)


def _check_mode(image):
    if image.mode not in _DEEP and image.mode not in _MODES:
        raise ImageError(f"has the colour mode {image.mode}, which is not supported; save it as 8-bit RGB")


def _frames(image):
    try:
        return getattr(image, "n_frames", 1)
    except Exception:  # counting frames reads the whole file; if it is damaged, decoding will say how
        return 1


def _decode(image):
    try:
        image.load()
    except Exception as error:
        reason = "is cut short (truncated)" if "truncated" in str(error).lower() else "is damaged"
        raise ImageError(f"{reason}: {shorten(error, 100)}") from error


def _to_rgb(image, *, unsigned):
    if image.mode in _DEEP:
        image = _to_8_bit(image, unsigned)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _to_8_bit(image, unsigned):
    """Grey of 12, 16 or 32 bits scaled to 8: Pillow's own conversion clips at 255, which turns every scan white."""
    values = np.asarray(image)
    if unsigned:
        values = values.view(np.uint32)
    grey = np.rint(values.clip(0) / (_white(int(values.max())) / 255)).astype(np.uint8)
    clear = image.info.get("transparency")
    if not isinstance(clear, int):
        return Image.fromarray(grey)
    return Image.merge("LA", [Image.fromarray(grey), Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))])


def _white(brightest):
    """The value that is white, by the depths there are: few files say that they keep 8 or 12 bits in 16."""
    return next(2**bits - 1 for bits in (8, 12, 16, 31, 32) if brightest < 2**bits)


def _is_unsigned(image):
    """Whether a TIFF holds 32 bits without a sign, which Pillow takes for such with one."""
    tags = getattr(image, "tag_v2", {})
    return image.mode == "I" and tags.get(258) == (32,) and tags.get(339, (1,)) == (1,)


_MODES = frozenset("1 L LA P PA RGB RGBA RGBa RGBX CMYK YCbCr HSV".split())
_DEEP = frozenset("I I;16 I;16L I;16B I;16N".split())
