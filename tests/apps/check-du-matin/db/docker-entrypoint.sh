#!/bin/sh
# Makes a database of an empty /var/lib/mysql, then becomes the command. What it asks for is what the official image asks for.
set -eu

fatal() {
  printf 'fatal: %s\n' "$1" >&2
  exit 78
}

# value NAME: the variable, or the content of the file that NAME_FILE names.
value() {
  eval "direct=\${$1:-} file=\${$1_FILE:-}"
  if [ -n "${file}" ]; then
    [ -z "${direct}" ] || fatal "both $1 and $1_FILE are set"
    direct=$(cat -- "${file}") || fatal "$1_FILE=${file} cannot be read"
  fi
  printf '%s' "${direct}"
}

# As it stands in SQL between single quotes.
quoted() {
  printf '%s' "$1" | sed "s/\\\\/\\\\\\\\/g; s/'/''/g"
}

data=/var/lib/mysql
if [ "${1:-}" != mysqld ] && [ "${1:-}" != mariadbd ]; then
  exec "$@"
fi
if [ ! -f "${data}/.initialised" ]; then
  if [ -d "${data}/mysql" ]; then
    # A first start that was cut off: nobody was ever let in, so there is nothing to keep.
    find "${data}" -mindepth 1 -delete
  fi
  root=$(value MYSQL_ROOT_PASSWORD)
  password=$(value MYSQL_PASSWORD)
  user=${MYSQL_USER:-}
  database=${MYSQL_DATABASE:-}
  [ -n "${root}" ] || fatal 'missing environment variables: MYSQL_ROOT_PASSWORD (or MYSQL_ROOT_PASSWORD_FILE)'
  [ -z "${user}" ] || [ -n "${password}" ] || fatal 'missing environment variables: MYSQL_PASSWORD (or MYSQL_PASSWORD_FILE)'
  case "${user}${database}" in
    *[!A-Za-z0-9_]*) fatal 'MYSQL_USER and MYSQL_DATABASE may have letters, digits and _ only' ;;
  esac

  mariadb-install-db --datadir="${data}" --auth-root-authentication-method=normal --skip-test-db >/dev/null
  # By standard input, so that no password is on a command line. Bootstrap listens nowhere.
  {
    # It also makes a root without a password for each name of this container.
    echo "DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost');"
    echo 'FLUSH PRIVILEGES;'
    printf "ALTER USER 'root'@'localhost' IDENTIFIED BY '%s';\n" "$(quoted "${root}")"
    printf "CREATE USER 'root'@'%%' IDENTIFIED BY '%s';\n" "$(quoted "${root}")"
    echo "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;"
    [ -z "${database}" ] || printf 'CREATE DATABASE `%s`;\n' "${database}"
    if [ -n "${user}" ]; then
      printf "CREATE USER '%s'@'%%' IDENTIFIED BY '%s';\n" "${user}" "$(quoted "${password}")"
      [ -z "${database}" ] || printf "GRANT ALL ON \`%s\`.* TO '%s'@'%%';\n" "${database}" "${user}"
    fi
  } | mariadbd --datadir="${data}" --bootstrap --log-warnings=0
  : > "${data}/.initialised"
fi
# The server has no use for them, and its environment can be read for as long as it lives.
unset MYSQL_ROOT_PASSWORD MYSQL_PASSWORD
exec "$@"
