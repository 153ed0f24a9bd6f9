#!/bin/sh
# Certificates as other tools make them, by plain openssl:
#
#   ca.sh DIR STYLE ROOT INTERMEDIATE LEAF
#
# STYLE openssl: as in a company's handbook; step: as the templates of step-ca have them (both
# purposes, no basic constraints, an extension of its own, a day's life). ROOT, INTERMEDIATE and LEAF
# are rsa, or a curve; INTERMEDIATE may be none. Writes root.pem, and NAME.pem with its intermediate
# and NAME.key for aggregator, agent and viewer.
set -eu
cd "$1"
style=$2 root=$3 intermediate=$4 leaf=$5

# key KIND FILE
key() {
    case $1 in
        rsa) openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$2" ;;
        # SEC 1, as step writes it; the other is PKCS #8.
        *) openssl ecparam -name "$1" -genkey -noout -out "$2" ;;
    esac
    chmod 600 "$2"
}
# request NAME SUBJECT
request() {
    openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
}
# sign NAME ISSUER DAYS, extensions on standard input
sign() {
    cat >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days "$3" \
        -sha256 -extfile "$1.ext" -out "$1.pem"
}

key "$root" root.key
request root '/O=Elsewhere/CN=Elsewhere Root CA'
printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n' >root.ext
openssl x509 -req -in root.csr -signkey root.key -days 3650 -sha256 -extfile root.ext -out root.pem
issuer=root
if [ "$intermediate" != none ]; then
    key "$intermediate" intermediate.key
    request intermediate '/O=Elsewhere/CN=Elsewhere Intermediate CA'
    sign intermediate root 3650 <<'EXT'
basicConstraints=critical,CA:TRUE,pathlen:0
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
EXT
    issuer=intermediate
fi

# leaf NAME PURPOSE ALTERNATIVE-NAMES
leaf() {
    key "$leaf" "$1.key"
    request "$1" "/CN=$1"
    if [ "$style" = step ]; then
        sign "$1" "$issuer" 1 <<EXT
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth,clientAuth
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
subjectAltName=$3
1.3.6.1.4.1.37476.9000.64.1=ASN1:SEQUENCE:provisioner
[provisioner]
type=INTEGER:1
name=OCTETSTRING:admin@elsewhere
EXT
    else
        sign "$1" "$issuer" 365 <<EXT
basicConstraints=CA:FALSE
keyUsage=digitalSignature,keyEncipherment
extendedKeyUsage=$2
subjectAltName=$3
EXT
    fi
    if [ "$issuer" = intermediate ]; then cat intermediate.pem >>"$1.pem"; fi
}
leaf aggregator serverAuth DNS:localhost
# A name for people beside the one that counts.
leaf agent clientAuth URI:spiffe://test.example/agent/node1.example,DNS:node1.example
leaf viewer clientAuth URI:spiffe://test.example/viewer/ann
