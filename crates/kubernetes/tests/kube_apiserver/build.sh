#!/bin/sh
# Builds kube-apiserver from its Go module: build.sh DIRECTORY. It takes about 6 minutes on 2 cores, and needs Go 1.26
# or later. If DIRECTORY has the program already, nothing is done.
set -eu
version=1.37.2
mkdir -p "$1"
cd "$1"
[ ! -x kube-apiserver ] || exit 0
# The module replaces its parts (k8s.io/api and others) by directories that are not in it. Each is a module, too.
module=$(go mod download -json "k8s.io/kubernetes@v$version" | sed -n 's/.*"GoMod": "\(.*\)",/\1/p')
{
  echo 'module apiserver.test'
  grep -E '^(go|godebug) ' "$module"
  echo "require k8s.io/kubernetes v$version"
  sed -nE 's#^[[:space:]]*(k8s\.io/[^ ]+) => \./staging/.*#\1#p' "$module" | while read -r part; do
    echo "replace $part => $part v0.${version#1.}"
  done
} > go.mod
go get -tool "k8s.io/kubernetes/cmd/kube-apiserver@v$version"
go build -trimpath -ldflags="-s -w -X k8s.io/component-base/version.gitVersion=v$version" \
  -o kube-apiserver.new k8s.io/kubernetes/cmd/kube-apiserver
mv kube-apiserver.new kube-apiserver
