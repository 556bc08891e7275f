"""Makes the screenshots of the documentation from real runs: needs Chromium, Pillow, and the `scgs` that made the runs.

    scgs run --dataset habitat --profile quick
    scgs run --dataset habitat --profile quick --methods erm,duplicate,scgs-random-mask,scgs \\
        --set mask.repaint=attended --set synthesis.inpainter=background-crop
    scgs report runs/habitat/<first> --examples docs/images/chain.jpg
    python docs/images/make.py runs/habitat/<first> runs/habitat/<second>

Run it in the root of the project; `$SCGS` names another program than the installed one. The terminal's pictures show what the commands print, colours included.
"""

import fcntl
import html
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
SCGS = os.environ.get("SCGS", "scgs")
COLOURS = ["#000", "#d04a4a", "#5fb760", "#d5a642", "#6a9fe0", "#b77fd0", "#4fb3b3", "#d0d0d0"]


def shoot(page: Path, out: str, width: int, height: int, only: str = "", dark: bool = False) -> None:
    """A picture of what a window shows, with a palette; `only` leaves one section of the report."""
    with tempfile.TemporaryDirectory() as folder:
        if only:
            text = page.read_text(encoding="utf-8")
            rule = f"<style>main > *:not([aria-labelledby={only}]) {{ display: none }}</style></head>"
            page = Path(folder) / "page.html"
            page.write_text(text.replace("</head>", rule, 1), encoding="utf-8")
        shot = Path(folder) / "shot.png"
        words = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        words += [f"--user-data-dir={folder}/profile"]
        words += [f"--window-size={width},{height}", f"--screenshot={shot}", "--virtual-time-budget=4000"]
        words += ["--blink-settings=preferredColorScheme=" + ("0" if dark else "1")]
        subprocess.run([*words, page.resolve().as_uri()], check=True, capture_output=True)
        picture = Image.open(shot).convert("RGB")
        picture.quantize(256, dither=Image.Dither.NONE).save(HERE / out, optimize=True)
    print(f"{out}: {picture.width} x {picture.height}, {(HERE / out).stat().st_size // 1000} kB")


def terminal(words: list[str], columns: int, folder: Path) -> str:
    """What a command, called in a folder, prints to a terminal of so many columns."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns)}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(words, stdout=other, stderr=subprocess.DEVNULL, env=environment, cwd=folder) as process:
        os.close(other)
        said = b""
        try:
            while chunk := os.read(main, 4096):
                said += chunk
        except OSError:  # how Linux says that the other end is closed
            pass
        process.wait()
    return said.decode().replace("\r\n", "\n")


def page(command: str, said: str) -> str:
    """The text as HTML, with its colours."""
    out, style = [], ""
    for text, codes in re.findall(r"([^\x1b]*)(?:\x1b\[([0-9;]*)m)?", said):
        out.append(f'<span style="{style}">{html.escape(text)}</span>' if style and text else html.escape(text))
        for code in codes.split(";") if codes else []:
            number = int(code or 0)
            if number == 0:
                style = ""
            elif number == 1:
                style += "font-weight:bold;"
            elif number == 2:
                style += "opacity:.65;"
            elif 30 <= number <= 37:
                style += f"color:{COLOURS[number - 30]};"
            elif 90 <= number <= 97:
                style += f"color:{COLOURS[number - 90]};"
    body = "".join(out)
    css = "margin:0;background:#16181d;color:#e4e4e4;font:14px/1.35 'DejaVu Sans Mono',monospace;padding:14px"
    return f'<!doctype html><meta charset="utf-8"><style>body{{margin:0;background:#16181d}}</style><pre style="{css}"><b>$ {html.escape(command)}</b>\n{body}</pre>'


def shoot_terminal(command: str, words: list[str], out: str, columns: int, folder: Path = Path()) -> None:
    said = terminal(words, columns, folder).rstrip()
    lines = said.split("\n")
    width = max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in [*lines, "$ " + command])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        file.write_text(page(command, said), encoding="utf-8")
        shoot(file, out, width=int(width * 8.43) + 34, height=int((len(lines) + 1) * 18.9) + 30)


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    first, second = map(Path, sys.argv[1:])
    report = first / "report" / "index.html"
    shoot(report, "report-light.png", 1100, 900)
    shoot(report, "report-dark.png", 1100, 900, dark=True)
    shoot(report, "chain-page.png", 1100, 1000, only="to-chain")
    with tempfile.TemporaryDirectory() as folder:
        both = Path(folder) / "comparison.html"
        subprocess.run([SCGS, "report", first, second, "--out", both], check=True, capture_output=True)
        shoot(both, "comparison.png", 1100, 900)
    shoot_terminal("scgs doctor", [SCGS, "doctor"], "doctor.png", 110)
    words = ["run", "--dataset", "habitat", "--profile", "quick"]
    # The run is there: the same command prints its table again.
    os.environ["SCGS_DATASETS"] = str(Path("datasets").resolve())
    above = first.resolve().parents[2]
    shoot_terminal("scgs " + " ".join(words), [SCGS, *words, "--quiet"], "table.png", 150, above)


if __name__ == "__main__":
    main()
