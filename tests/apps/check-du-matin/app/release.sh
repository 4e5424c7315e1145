# Makes the tree that of one release: its migrations, and its assets under names that change with their content.
set -eu
version=$1
fault=$2

take() {
  for name in "$@"; do
    mv "database/later/${name}.php" database/migrations/
  done
}

case "${version}" in
  1.0.0 | 0.0.0-dev) ;;
  1.2.0) take 2026_02_01_000000_add_status 2026_03_01_000000_drop_result ;;
  # A faulty release drops nothing, so that any former one may come back after it.
  *) take 2026_02_01_000000_add_status ;;
esac
case "${fault}" in
  migration-fails) take 2026_04_01_000000_fail ;;
  migration-hangs) take 2026_04_01_000000_hang ;;
esac
rm -r database/later

mkdir -p public/build/assets
separator=
printf '{' > public/build/manifest.json
for source in resources/css/app.css resources/js/app.js; do
  kind=${source##*.}
  { printf '/* release %s */\n' "${version}"; cat "${source}"; } > public/build/asset
  name=assets/app-$(sha256sum public/build/asset | cut -c1-8).${kind}
  mv public/build/asset "public/build/${name}"
  printf '%s"%s":{"file":"%s","src":"%s","isEntry":true}' "${separator}" "${source}" "${name}" "${source}" \
    >> public/build/manifest.json
  separator=,
done
printf '}\n' >> public/build/manifest.json
