#!/bin/sh
# Installs what is in this archive on this machine, as root:
#
#   ./install.sh            programs, manual pages, completions, units; settings that aren't there yet
#   ./install.sh --root DIR the same below DIR, for a package or an image
#
# Nothing is started, no settings are replaced, no key is made. Run again, it updates the programs
# and units.
set -eu

root=
case ${1:-} in
    '') ;;
    --root)
        if [ -z "${2:-}" ]; then echo 'install.sh: --root needs a folder' >&2; exit 2; fi
        # Before the working directory changes.
        case $2 in /*) root=$2 ;; *) root=$PWD/$2 ;; esac ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
cd "$(dirname "$0")"

if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
    echo 'install.sh: needs root' >&2
    exit 1
fi

name=
for file in systemd/rowcall-*-static.service; do
    name=${file#systemd/rowcall-}
    name=${name%-static.service}
done

# install_file MODE FILE TARGET: replaces the file in one step, so that a running program isn't cut
install_file() {
    mkdir -p "$root${3%/*}"
    cp "$2" "$root$3.new"
    chmod "$1" "$root$3.new"
    mv -f "$root$3.new" "$root$3"
}

for file in bin/*; do
    install_file 755 "$file" "/usr/local/$file"
done
for file in man/*; do
    if [ -e "$file" ]; then install_file 644 "$file" "/usr/local/share/man/man1/${file#man/}"; fi
done
for file in completions/*; do
    program=${file#completions/}
    case $file in
        *.bash) install_file 644 "$file" "/usr/local/share/bash-completion/completions/${program%.*}" ;;
        *.zsh) install_file 644 "$file" "/usr/local/share/zsh/site-functions/_${program%.*}" ;;
        *.fish) install_file 644 "$file" "/usr/local/share/fish/vendor_completions.d/$program" ;;
    esac
done

mkdir -p "$root/etc/rowcall"
for file in etc/*; do
    if [ ! -e "$root/etc/rowcall/${file#etc/}" ]; then
        install_file 644 "$file" "/etc/rowcall/${file#etc/}"
    fi
done

# make_user NAME FOLDER: a user of the system, and a folder of its own
make_user() {
    if ! id "$1" >/dev/null 2>&1; then
        useradd --system --user-group --no-create-home --home-dir "/var/lib/$1" \
            --shell /sbin/nologin "$1"
    fi
    mkdir -p "$2"
    chown "$1:$1" "$2"
    chmod 700 "$2"
}

# Credentials and a user made at the start came with systemd 247.
version=$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
unit=rowcall-$name.service
if [ -n "$root" ] || [ "${version:-0}" -ge 247 ]; then
    install_file 644 "systemd/$unit" "/etc/systemd/system/$unit"
else
    install_file 644 "systemd/rowcall-$name-static.service" "/etc/systemd/system/$unit"
    case $name in agent) user=rowcall-agent ;; *) user=rowcall ;; esac
    make_user "$user" "/var/lib/$user"
    echo "systemd ${version:-unknown}: the unit runs as user $user, which must be able to read keys of your own"
fi
# What the aggregator's archive has besides: certificates renewed by a timer, once that is enabled.
for file in systemd/rowcall-pki-renew.*; do
    if [ -e "$file" ]; then install_file 644 "$file" "/etc/systemd/system/${file#systemd/}"; fi
done
# What `rowcall pki init` puts there is for the aggregator's user: it sees new files as they come.
if [ -z "$root" ] && [ "$name" = aggregator ]; then make_user rowcall /etc/rowcall/pki; fi
if [ -z "$root" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
if [ -n "$root" ]; then
    echo "installed rowcall-$name below $root"
    exit 0
fi
case $name in
    agent) next='rowcall-agent enroll --server HOST:7444 --token-file -' ;;
    *) next="edit /etc/rowcall/$name.toml, rowcall pki init --server-name HOST" ;;
esac
units=rowcall-$name
if [ "$name" = aggregator ]; then units="$units rowcall-pki-renew.timer"; fi
echo "installed rowcall-$name; next: $next,"
echo "then systemctl enable --now $units"
