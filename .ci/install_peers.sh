#!/bin/sh
# xdem and demcompare for the tests, in an environment of their own: install_peers.sh FOLDER; then FOLDER/bin/python has
# them. Beside our pins only an old xdem would install (0.0.18; 0.2 wants pandas < 3).
set -eu
folder=$1
[ -x "$folder/bin/python" ] && exit 0

work=$folder.part # a folder without all of it must not be found
rm -rf "$work"
${PYTHON:-python3} -m venv "$work"
"$work/bin/python" -m pip install --quiet --only-binary :all: xdem==0.2.3 demcompare==0.6.1
"$work/bin/python" -c "import demcompare, xdem"
mkdir -p "$(dirname "$folder")"
mv "$work" "$folder"
