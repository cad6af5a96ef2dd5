#!/usr/bin/env bash
# From nothing to the curve: sets up .venv, trains BN at 32 to 2 images per worker and GN on the embedded digits, as many runs at
# a time as cores (2 minutes on 2), and shows them among the reference runs that come with normbench. Run again, it trains
# nothing twice.
set -euo pipefail
source "$(dirname "$0")/venv.sh" ""

.venv/bin/normbench -m experiment=demo hydra/launcher=joblib || fail "the study did not finish, see above"
.venv/bin/normbench figures demo data=digits --with-reference || fail "the figure could not be drawn, see above"
.venv/bin/normbench tables claims data=digits --with-reference || fail "the claims could not be judged, see above"

cat <<'END'

What to try next:
  .venv/bin/normbench -m norm=mabn,brn,gn_ws batch=32,4,2 seed=0,1 hydra/launcher=joblib
      more norms on the same images; .venv/bin/normbench figures demo then draws them too
  .venv/bin/normbench report --with-reference
      everything on disk as one page for a browser
  .venv/bin/normbench -m experiment=gn_fig1 data=cifar10 data.download=true --dry
      what a paper's grid takes on CIFAR-10; without --dry it is trained
END
