#!/usr/bin/env bash
# Makes a CA and the certificates of a small Rowcall cluster with plain openssl (1.1.1 or 3.x).
# README.md in this folder explains each step. Keys are ECDSA P-256, without passphrase, 0600.
set -euo pipefail
umask 077

usage() {
    cat <<'USAGE'
usage: make-certs.sh [options]

  --out DIR           folder to write to               [out, beside this script]
  --trust-domain TD   first part of every identity     [rowcall.example]
  --aggregator NAME   DNS name or IP address under which agents reach the aggregator;
                      may be repeated                  [localhost 127.0.0.1 ::1]
  --agent NAME        host name of a node; may be repeated
                                                       [this machine's fully qualified name]
  --viewer NAME       someone who reads reports; may be repeated
                                                       [viewer]
  --operator NAME     someone who manages hosts; may be repeated
                                                       [operator]
  --days N            lifetime of the certificates     [365; the CA's is 3652]
  --new-ca            replace the CA in DIR: every certificate of the old one stops working
  --help

The CA in DIR is kept and used if there is one. Then only the certificates that are named are made,
the others stay as they are; with nobody named all defaults are made anew.
USAGE
}

fail() {
    printf 'make-certs.sh: %s\n' "$1" >&2
    exit 1
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$here/out
trust_domain=rowcall.example
aggregators=()
agents=()
viewers=()
operators=()
days=365
new_ca=false

while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --new-ca) new_ca=true; shift; continue ;;
        --out | --trust-domain | --aggregator | --agent | --viewer | --operator | --days)
            [ $# -ge 2 ] || fail "$1 needs a value; see --help" ;;
        *) fail "unknown argument '$1'; see --help" ;;
    esac
    case $1 in
        --out) out=$2 ;;
        --trust-domain) trust_domain=$2 ;;
        --aggregator) aggregators+=("$2") ;;
        --agent) agents+=("$2") ;;
        --viewer) viewers+=("$2") ;;
        --operator) operators+=("$2") ;;
        --days) days=$2 ;;
    esac
    shift 2
done

command -v openssl >/dev/null || fail "openssl is not installed; install the package openssl"
named=$((${#aggregators[@]} + ${#agents[@]} + ${#viewers[@]} + ${#operators[@]}))
if [ "$named" = 0 ] || [ ! -e "$out/ca.pem" ] || $new_ca; then
    [ ${#aggregators[@]} -gt 0 ] || aggregators=(localhost 127.0.0.1 ::1)
    [ ${#agents[@]} -gt 0 ] || agents=("$(hostname -f 2>/dev/null || uname -n)")
    [ ${#viewers[@]} -gt 0 ] || viewers=(viewer)
    [ ${#operators[@]} -gt 0 ] || operators=(operator)
fi

# The alphabet that Rowcall accepts; it also keeps names from meaning something to openssl's
# configuration or in a path.
name() {
    local lower
    lower=$(printf '%s' "$2" | tr '[:upper:]' '[:lower:]')
    [[ $lower =~ ^[a-z0-9._-]{1,253}$ && $lower != . && $lower != .. ]] ||
        fail "$1 '$2' may have only a-z, 0-9, '.', '_' and '-', 253 characters at most"
    printf '%s' "$lower"
}

[[ $trust_domain =~ ^[a-z0-9._-]{1,255}$ ]] ||
    fail "trust domain '$trust_domain' may have only a-z, 0-9, '.', '_' and '-'"
[[ $days =~ ^[1-9][0-9]{0,4}$ ]] || fail "--days '$days' is not a number from 1 to 99999"

alt_names=
for aggregator in "${aggregators[@]}"; do
    if [[ $aggregator =~ ^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$ || $aggregator =~ ^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*$ ]]; then
        alt_names+=,IP:$aggregator
    else
        alt_names+=,DNS:$(name 'aggregator name' "$aggregator")
    fi
done
alt_names=${alt_names#,}
for i in "${!agents[@]}"; do
    agents[i]=$(name 'agent name' "${agents[i]}")
done
for i in "${!viewers[@]}"; do
    viewers[i]=$(name 'viewer name' "${viewers[i]}")
done
for i in "${!operators[@]}"; do
    operators[i]=$(name 'operator name' "${operators[i]}")
done

mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d "$out/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# A key of its own for each certificate; moved into place only when its certificate is made too.
new_key() {
    openssl ecparam -name prime256v1 -genkey -noout -out "$work/sec1.pem"
    openssl pkcs8 -topk8 -nocrypt -in "$work/sec1.pem" -out "$work/key.pem"
}

# 16 random bytes, the first one such that the number is positive and keeps its length.
serial() {
    printf '0x4%s' "$(openssl rand -hex 16 | cut -c 2-)"
}

# common name: a label for people, no check reads it; X.509 allows 64 characters
subject() {
    printf '/O=Rowcall/CN=%.64s' "$1"
}

quietly() {
    "$@" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        fail "openssl failed, see above"
    }
}

made=()
install_pair() {
    mv -f "$work/key.pem" "$out/$1-key.pem"
    chmod 644 "$work/cert.pem"
    mv -f "$work/cert.pem" "$out/$1.pem"
    made+=("$1.pem|$1-key.pem|$2")
}

if [ -e "$out/ca.pem" ] && [ -e "$out/ca-key.pem" ] && ! $new_ca; then
    found=$(openssl x509 -in "$out/ca.pem" -noout -text | sed -n 's/.*URI:\([^, ]*\).*/\1/p')
    [ "$found" = "spiffe://$trust_domain" ] ||
        fail "the CA in $out is of ${found:-no trust domain}; give that --trust-domain, another --out, or --new-ca"
    made+=("ca.pem|ca-key.pem|kept")
else
    if { [ -e "$out/ca.pem" ] || [ -e "$out/ca-key.pem" ]; } && ! $new_ca; then
        fail "$out holds half a CA (ca.pem or ca-key.pem is missing); put it back, or give --new-ca"
    fi
    cat >"$work/ca.cnf" <<CNF
[req]
distinguished_name = dn
prompt = no
[dn]
[ca]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
subjectAltName = URI:spiffe://$trust_domain
CNF
    new_key
    quietly openssl req -x509 -new -sha256 -config "$work/ca.cnf" -extensions ca \
        -key "$work/key.pem" -subj "$(subject "$trust_domain CA")" -set_serial "$(serial)" \
        -days 3652 -out "$work/cert.pem"
    install_pair ca "spiffe://$trust_domain"
fi

# issue FILE SUBJECT PURPOSE ALTERNATIVE-NAMES
issue() {
    cat >"$work/leaf.cnf" <<CNF
[req]
distinguished_name = dn
prompt = no
[dn]
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = $3
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = $4
CNF
    new_key
    quietly openssl req -new -sha256 -config "$work/leaf.cnf" -key "$work/key.pem" \
        -subj "$(subject "$2")" -out "$work/request.pem"
    quietly openssl x509 -req -sha256 -in "$work/request.pem" -CA "$out/ca.pem" \
        -CAkey "$out/ca-key.pem" -set_serial "$(serial)" -days "$days" \
        -extfile "$work/leaf.cnf" -extensions leaf -out "$work/cert.pem"
    quietly openssl verify -CAfile "$out/ca.pem" "$work/cert.pem"
    install_pair "$1" "$4"
}

# client ROLE NAME
client() {
    issue "$1-$2" "$2" clientAuth "URI:spiffe://$trust_domain/$1/$2"
}

[ -z "$alt_names" ] || issue aggregator "rowcall aggregator" serverAuth "$alt_names"
for agent in "${agents[@]}"; do
    client agent "$agent"
done
for viewer in "${viewers[@]}"; do
    client viewer "$viewer"
done
for operator in "${operators[@]}"; do
    client operator "$operator"
done

printf 'in %s:\n\n' "$out"
{
    printf 'CERTIFICATE|KEY|FOR\n'
    printf '%s\n' "${made[@]}" | sed 's/URI://'
} | awk -F'|' '
    { for (i = 1; i <= 3; i++) { cell[NR, i] = $i; if (length($i) > width[i]) width[i] = length($i) } }
    END { for (r = 1; r <= NR; r++)
        printf "  %-*s  %-*s  %s\n", width[1], cell[r, 1], width[2], cell[r, 2], cell[r, 3] }'
cat <<NEXT

what to do next:
  1. keep ca-key.pem off every machine but this one: who has it can be any host
  2. aggregator: aggregator.pem, aggregator-key.pem, ca.pem
  3. each node:  its own agent-*.pem and agent-*-key.pem, ca.pem
  4. people:     their own viewer-*.pem or operator-*.pem, its key, ca.pem
keep every key readable for its owner alone (0600), and copy it over ssh only
NEXT
