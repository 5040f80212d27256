#!/bin/sh
# SPDX-License-Identifier: PostgreSQL
# Makes the certificates of the TLS tests anew. They are valid from 2020 to 2119 and secure nothing.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/ca.cnf" <<END
[ca]
default_ca = test
[test]
new_certs_dir = $work
database = $work/index
serial = $work/serial
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = dn
[dn]
END

issue() { # NAME CA CN EXTENSIONS SERIAL [-selfsign]
    printf '%s\n' "$4" >"$work/ext"
    : >"$work/index"
    echo "$5" >"$work/serial"
    openssl req -new -config "$work/ca.cnf" -key "$1.key" -subj "/CN=$3" -out "$work/csr"
    openssl ca -batch -notext -config "$work/ca.cnf" -cert "$2.pem" -keyfile "$2.key" ${6-} \
        -startdate 20200101000000Z -enddate 21191231000000Z -extfile "$work/ext" \
        -in "$work/csr" -out "$1.pem"
}

new_key() { # NAME
    openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
}

for name in ca other-ca; do
    new_key $name
    issue $name $name "pgvigil test $name" "basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash" 01 -selfsign
done

leaf() { # NAME CA CN SAN SERIAL
    [ -f "$1.key.new" ] && mv "$1.key.new" "$1.key" || new_key "$1"
    issue "$1" "$2" "$3" "basicConstraints=CA:FALSE
${4:+subjectAltName=$4}" "$5"
}

openssl genrsa -traditional -out rsa.key.new 2048
leaf server ca server 'DNS:localhost,DNS:*.cluster.example,IP:127.0.0.1,IP:::1' 1001
leaf renewed ca server 'DNS:localhost,IP:127.0.0.1' 1002
leaf rsa ca server 'DNS:localhost,IP:127.0.0.1' 1003
leaf elsewhere ca elsewhere.example DNS:elsewhere.example 1004
leaf plain-name ca localhost '' 1005
leaf client ca member1 '' 2001
leaf stranger other-ca member1 '' 2002
cat server.pem server.key >combined.pem
openssl ec -in server.key -aes128 -passout pass:secret -out encrypted.key
openssl pkcs8 -topk8 -v2 aes-256-cbc -in server.key -passout pass:secret -out pkcs8.key
openssl pkcs8 -topk8 -v2 aes-128-cbc -v2prf hmacWithSHA1 -in server.key -passout pass:secret -out pkcs8-sha1.key
rm -f ca.key other-ca.key
