"""Small files of one folder of the data directory, each replaced whole."""

from pathlib import Path

from storage.files import Files


class SmallFiles:
    """Files in `folder`, by name. Whoever writes holds the directory's lock."""

    def __init__(self, folder: Path, files: Files) -> None:
        self._folder = folder
        self._files = files

    def names(self) -> list[str]:
        """What is there, in order; temporary files are not."""
        if not self._folder.is_dir():
            return []
        return sorted(p.name for p in self._folder.iterdir() if p.suffix != ".tmp" and p.is_file())

    def read(self, name: str) -> bytes | None:
        """The bytes kept under `name`, None when there are none. Raises OSError."""
        try:
            return self._files.read(self._folder / name)
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Keep `data` under `name`, lasting on success. Raises OSError."""
        self._files.replace(self._folder / name, data)

    def move(self, name: str, other: str) -> None:
        """Give a file another name, replacing what had it; lasting on success. Raises OSError."""
        data = self._files.read(self._folder / name)
        self._files.replace(self._folder / other, data)
        self.remove(name)

    def remove(self, name: str) -> None:
        """Remove the file if it is there; not forced to disk: a crash may bring it back."""
        self._files.remove(self._folder / name)
