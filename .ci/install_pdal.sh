#!/bin/sh
# PDAL's command for the tests, in a folder of its own: install_pdal.sh FOLDER; then FOLDER/bin/pdal. Needs no root.
# Debian 12 and 13 have no package of it. Debian 11 has: its package and all that it needs, down to the C library, are
# unpacked into the folder and run there; nothing of the system is changed. Other systems: conda install pdal.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
pdal=$folder/bin/pdal
[ -x "$pdal" ] && "$pdal" --version >/dev/null 2>&1 && exit 0

command -v apt-get >/dev/null && [ "$(dpkg --print-architecture)" = amd64 ] || { echo "no packages for this system" >&2; exit 1; }
. /etc/os-release
[ "${ID:-}" = debian ] || { echo "no packages for this system" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/sources" "$work/lists/partial" "$work/archives/partial"
: >"$work/status" # nothing counts as installed: the packages come with everything below them

# the mirrors of this machine, asked for Debian 11
for file in /etc/apt/sources.list.d/*.sources; do
  [ -e "$file" ] && sed "/^Suites:/ s/$VERSION_CODENAME-updates//; /^Suites:/ s/$VERSION_CODENAME/bullseye/g" "$file" >>"$work/sources/all.sources"
done
[ -e /etc/apt/sources.list ] && sed "/-updates/d; s/$VERSION_CODENAME/bullseye/g" /etc/apt/sources.list >"$work/sources/one.list"

apt() {
  apt-get -qq -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/sources" -o Dir::Etc::preferencesparts=/dev/null \
    -o Dir::State="$work" -o Dir::State::status="$work/status" -o Dir::Cache="$work" -o Dir::Cache::archives="$work/archives" \
    -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" -o APT::Install-Recommends=0 -o Acquire::Check-Valid-Until=0 "$@"
}
apt update
apt -y --download-only install pdal >/dev/null

for package in "$work"/archives/*.deb; do
  dpkg-deb --extract "$package" "$folder"
done
rm -rf "$folder/usr/share/doc" "$folder/usr/share/man" "$folder/usr/share/locale"

lib=$folder/usr/lib/x86_64-linux-gnu
mkdir -p "$folder/bin"
cat >"$work/pdal" <<TEXT
#!/bin/sh
export PROJ_LIB="$folder/usr/share/proj" GDAL_DATA="$folder/usr/share/gdal" GDAL_DRIVER_PATH=disable PDAL_DRIVER_PATH="$lib"
unset PROJ_DATA LD_LIBRARY_PATH
exec "$folder/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" \\
  --library-path "$folder/lib/x86_64-linux-gnu:$lib:$lib/blas:$lib/lapack:$folder/usr/lib" "$folder/usr/bin/pdal" "\$@"
TEXT
chmod +x "$work/pdal"
"$work/pdal" --version >/dev/null # a pdal that does not run must not be found
mv "$work/pdal" "$pdal"
