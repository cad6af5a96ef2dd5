#!/usr/bin/env bash
# bash scripts/docs.sh            the site of docs/ in results/site; open results/site/index.html
# bash scripts/docs.sh serve      the same on localhost:8000, rebuilt at every change
# A link or an anchor that leads nowhere, or a page that no other page names, is an error.
set -euo pipefail
source "$(dirname "$0")/venv.sh" "[docs]"

export NO_MKDOCS_2_WARNING=1 # an announcement of the theme's, of no concern to these pages
if [ "${1:-build}" = build ]; then
  # not --quiet: it would hide the warnings from --strict too
  .venv/bin/python -m mkdocs build --strict || fail "the site was not built, see above"
  echo "wrote results/site/index.html"
else
  .venv/bin/python -m mkdocs "$@"
fi
