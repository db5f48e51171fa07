"""Texts of others in tables that spreadsheets open."""

# A text that begins so is taken for a formula, or loses its mark, in spreadsheets;
# the wide forms are those of East Asian keyboards.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'", "＝", "＋", "－", "＠")


def harmless(text):
    """A text that no spreadsheet takes for a formula: with a ' in front where needed.

    Texts that begin with a ' get one, too: whoever reads them takes one away wherever
    there is one.
    """
    return f"'{text}" if text.startswith(FORMULA) else text
