#!/bin/bash
# like_macos.sh COMMAND...: run a command in a root that looks like macOS as far as a
# Python program can tell.  Needs root, unshare, overlayfs, gcc, ps.  Nothing outside changes:
# all is in a mount namespace, writes outside /tmp and the temporary directory go to a tmpfs.
#   LIKE_PLATFORM=darwin|freebsd14|linux   sys.platform (linux: as it is, only without /proc)
#   LIKE_FD=macos|freebsd|none   /dev/fd lists all descriptors | only 0, 1, 2 (no fdescfs) | is absent
#   LIKE_HFS=1          times of files in whole seconds (HFS+, some network file systems)
#   LIKE_V6FIRST=1      getaddrinfo(NULL, AI_PASSIVE) has :: first
#   LIKE_ZOMBIE=0, LIKE_SOCKSTAT=0   do as Linux does: getpgid(zombie); inode of sockets
#   LIKE_NOFILE=256     soft limit of descriptors
#   LIKE_PROC=1         leave /proc as it is
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=${LIKE_WORK:-/tmp/like-macos}   # what it writes; a disk, not a tmpfs
if [ "${LIKE_STAGE:-0}" = 0 ]; then
    mkdir -p "$work"
    [ "$work/shim.so" -nt "$here/like/shim.c" ] || gcc -shared -fPIC -O2 -o "$work/shim.so" "$here/like/shim.c" -ldl
    [ "$work/ps" -nt "$here/like/ps.c" ] || gcc -O2 -o "$work/ps" "$here/like/ps.c"
    export LIKE_STAGE=1 LIKE_CWD=$PWD
    exec unshare -m --propagation private -- "${BASH_SOURCE[0]}" "$@"
fi
base=$work/ovl
mkdir -p "$base" "$work/T"
mount -t tmpfs tmpfs "$base"
mkdir -p "$base"/{upper,work,root}
mount -t overlay overlay -o lowerdir=/,upperdir="$base/upper",workdir="$base/work" "$base/root"
r=$base/root
# the interpreters' own directories: sitecustomize
for lib in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1*/lib/python3.1*; do
    [ -d "$lib" ] || continue
    cp "$here/like/sitecustomize.py" "$here/like/_scproxy.py" "$r$lib/"
    for data in "$lib"/_sysconfigdata_*_linux_*.py; do
        name=$(basename "$data"); cp "$data" "$r$lib/${name/_linux_/_darwin_}"
    done
done
# devices, with a /dev/fd of its own
mkdir -p "$r/.realproc"
mount -t proc proc "$r/.realproc"
mount -t tmpfs tmpfs "$r/dev"
for node in null zero full random urandom tty fuse; do touch "$r/dev/$node"; mount --bind /dev/$node "$r/dev/$node"; done
mkdir "$r"/dev/{pts,shm}
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$r/dev/pts"; ln -s pts/ptmx "$r/dev/ptmx"; mount -t tmpfs tmpfs "$r/dev/shm"
case ${LIKE_FD:-macos} in
macos) ln -s /.realproc/self/fd "$r/dev/fd" ;;
freebsd) mkdir "$r/dev/fd"; for n in 0 1 2; do ln -s /.realproc/self/fd/$n "$r/dev/fd/$n"; done ;;
esac
for n in 0:stdin 1:stdout 2:stderr; do ln -s /.realproc/self/fd/${n%:*} "$r/dev/${n#*:}"; done
mount --bind /sys "$r/sys"
mount --bind /tmp "$r/tmp"
# the temporary directory, behind a link as on macOS, on the real disk
private=/private/var/folders/zz/zyxvpxvq6csfxvn_n0000000000000/T
mkdir -p "$r$private"; mount --bind "$work/T" "$r$private"
ln -s /private/var/folders "$r/var/folders"
export TMPDIR=/var/folders/zz/zyxvpxvq6csfxvn_n0000000000000/T/
export __CF_USER_TEXT_ENCODING=0x0:0:0
mv "$r/usr/bin/ps" "$r/usr/bin/ps.real"; cp "$work/ps" "$r/usr/bin/ps"
cp "$work/shim.so" "$r/usr/lib/like_macos_shim.so"
echo /usr/lib/like_macos_shim.so > "$r/etc/ld.so.preload"
if [ "${LIKE_PROC:-0}" = 1 ]; then mount --bind "$r/.realproc" "$r/proc"; fi   # else it is empty
cwd=$LIKE_CWD
unset LIKE_STAGE LIKE_CWD
ulimit -S -n "${LIKE_NOFILE:-256}"
exec chroot "$r" /bin/bash -c 'cd "$1" && shift && exec "$@"' like "$cwd" "$@"
