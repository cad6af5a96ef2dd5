#!/usr/bin/env bash
# From nothing to the curve: sets up .venv, trains BN at 32 to 1 images per worker and GN on the embedded digits, two seeds,
# as many runs at a time as cores (about 4 minutes on 2), and draws error against batch. Run again, it trains nothing twice.
set -euo pipefail
source "$(dirname "$0")/venv.sh" ""

.venv/bin/python -m normbench -m experiment=demo hydra/launcher=joblib || fail "the study did not finish, see above"
.venv/bin/python -m normbench.figures demo || fail "the figure could not be drawn, see above"
