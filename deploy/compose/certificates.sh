#!/bin/sh
# An authority of one's own and Kafka's certificate for NAME, into deploy/compose/kafka. Buildings get ca.pem.
set -eu
name=${1:?usage: certificates.sh NAME-BY-WHICH-BUILDINGS-REACH-KAFKA}
cd "$(dirname "$0")/kafka"
umask 077
if [ ! -e ca.key ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
        -subj "/CN=IEVCC fog authority" -keyout ca.key -out ca.pem 2>/dev/null
fi
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$name" \
    -keyout server.key -out server.csr 2>/dev/null
echo "subjectAltName=DNS:$name,DNS:localhost" > server.ext
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 \
    -extfile server.ext -out server.crt 2>/dev/null
cat server.key server.crt ca.pem > server.pem
chmod 644 server.pem ca.pem # the container's user reads them; the folder is yours alone
rm server.key server.csr server.ext server.crt
[ -e cluster.id ] || openssl rand 16 | openssl base64 -A | tr '+/' '-_' | cut -c1-22 > cluster.id
chmod 644 cluster.id
sed "s/fog.example/$name/" server.properties.example > server.properties
