"""Make the notebooks of lesson.py: `python notebooks/build.py`, with `--run` their pages in docs/ too.

lesson.py holds each text in every language and each piece of code once, parted by lines that begin with
`# %%`: `# %% en` and `# %% zh` head a text of comments, `# %%` a piece of code, with its tag if it has one.
What IPython alone understands is a comment there, such as `# %matplotlib inline`.
"""

import argparse
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

HERE = Path(__file__).parent
PAGES = HERE.parent / "docs"
LANGUAGES = {"en": "lesson", "zh": "lesson.zh"}
# Where a line of Chinese goes on in the next: Markdown would show a space.
CHINESE_LINE_END = re.compile(
    r"(?<=[\u3000-\u9fff\uff00-\uffef])\n(?![\n#-])|(?<!\n)\n(?=[\u3000-\u9fff\uff00-\uffef])"
)
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def cells(language):
    """Those of the notebook in this language, without outputs."""
    _, *parts = re.split(r"^# %%(.*)\n", (HERE / "lesson.py").read_text("utf-8"), flags=re.MULTILINE)
    found = []
    for i, (head, body) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
        head, name = head.strip(), {"id": f"cell{i}"}
        if head not in LANGUAGES:
            code = re.sub(r"^# (?=%\w)", "", body.strip(), flags=re.MULTILINE)
            found.append(new_code_cell(code, **name, metadata={"tags": [head]} if head else {}))
        elif head == language:
            text = re.sub(r"^# ?", "", body.strip(), flags=re.MULTILINE)
            found.append(new_markdown_cell(CHINESE_LINE_END.sub("", text), **name))
    return found


def notebook(language):
    """The notebook in this language."""
    return new_notebook(cells=cells(language), metadata=METADATA)


def on_page(text):
    """The text of a notebook with the links that lead on from docs/."""
    return text.replace("](../docs/", "](")


def pages():
    """The pages of all languages by name, and their pictures by path, of one run of the code."""
    from nbclient import NotebookClient
    from nbconvert import MarkdownExporter

    first, *others = books = [notebook(language) for language in LANGUAGES]
    with TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        NotebookClient(first, timeout=None, coalesce_streams=True, resources=place).execute()
    for cell in first.cells:
        if cell.cell_type == "code":  # what TensorFlow says of the machine is no part of the page
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    for other in others:
        other.metadata = first.metadata
        for cell, run in zip(other.cells, first.cells, strict=True):
            if cell.cell_type == "code":
                cell.outputs = run.outputs
    found, pictures = {}, {}
    for name, book in zip(LANGUAGES.values(), books, strict=True):
        text, resources = MarkdownExporter().from_notebook_node(book, {"output_files_dir": "lesson"})
        found[f"{name}.md"] = on_page(text)
        pictures |= resources["outputs"]
    return found, pictures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--run", action="store_true", help="run the code, and write docs/lesson.md of what it shows"
    )
    options = parser.parse_args()
    for language, name in LANGUAGES.items():
        nbformat.write(notebook(language), HERE / f"{name}.ipynb")
    if options.run:
        texts, pictures = pages()
        (PAGES / "lesson").mkdir(exist_ok=True)
        for name, text in texts.items():
            (PAGES / name).write_text(text, "utf-8")
        for path, data in pictures.items():
            (PAGES / path).write_bytes(data)


if __name__ == "__main__":
    main()
