#!/bin/sh
# restore-by-hand.sh: list or get back what is in a recovery point, without Holdfast: with age, zstd, jq, sh and coreutils
# alone, from a copy of a vault in a directory. docs/format.md explains every step. Post-quantum keys need age 1.3 or newer.
#
#   restore-by-hand.sh VAULT IDENTITY POINT                       list the entries of a point, one JSON line each
#   restore-by-hand.sh VAULT IDENTITY POINT KEY FILE [VERSION]    write the bytes of one entry to FILE
#
# VAULT     directory with descriptors/, meta/, packs/, points/ ...
# IDENTITY  file with a restore key (AGE-SECRET-KEY-...)
# POINT     ID of a point, the beginning of one, SOURCE@latest (the newest complete one), or newest (of any source);
#           of points that were signed within one second any may be taken for the newest: give the ID then
# VERSION   the source's version ID, where a point holds more than one version of KEY; default: the current one
#
# Every page, chunk and object is checked against its SHA-256, from the name of the point down. Signatures are not checked
# (coreutils has no Ed25519): make sure that POINT is the one you mean, or check its name as docs/format.md shows. Descriptors
# are not read: where they are lost, give the full ID of the point, from paper or a report.
set -eu
export LC_ALL=C

die() {
	printf 'restore-by-hand: %s\n' "$*" >&2
	exit 1
}

case $# in
3 | 5 | 6) ;;
*)
	sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac

vault=$1
identity=$2
point=$3
mode=list
if [ $# -gt 3 ]; then
	mode=get
	out=$5
	[ ! -e "$out" ] || die "$out exists already"
	version=${6-}
	key64=$(printf %s "$4" | base64 | tr -d '\n')
else
	key64=
fi
age=${AGE:-age}

for tool in "$age" zstd jq sha256sum base64 tail head; do
	command -v "$tool" >/dev/null || die "$tool is not installed"
done
[ -d "$vault/points" ] || die "$vault is not a copy of a vault: it has no points/"
[ -r "$identity" ] || die "cannot read $identity"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
umask 077

sum() {
	sha256sum <"$1" | cut -d ' ' -f 1
}

size() {
	wc -c <"$1" | tr -d ' '
}

# Keys are bytes, in JSON as "key", or as "key_b64" where they are not UTF-8. They are compared as lists of bytes.
bytes='
def sixes: explode | map(
	if . >= 65 and . <= 90 then . - 65
	elif . >= 97 and . <= 122 then . - 71
	elif . >= 48 and . <= 57 then . + 4
	elif . == 43 then 62
	elif . == 47 then 63
	else empty end);
def from64: sixes as $s | [range(0; $s | length * 6 / 8 | floor) | (. * 8 / 6 | floor) as $i | (. * 8 % 6) as $bit |
	if $bit == 0 then $s[$i] * 4 + ($s[$i + 1] / 16 | floor)
	elif $bit == 2 then $s[$i] % 16 * 16 + ($s[$i + 1] / 4 | floor)
	else $s[$i] % 4 * 64 + $s[$i + 1] end];
def to64($name): if has($name) then .[$name] | @base64 else .[$name + "_b64"] end;
'

# choose sets commit to the file of the point asked for.
choose() {
	: >"$tmp/points"
	for f in "$vault"/points/*/*; do
		[ -f "$f" ] || continue
		name=${f##*/}
		stamp=${name%%-*}
		rest=${name#*-}
		id=${rest%%-*}
		signature=${rest##*-}
		[ ${#stamp} -eq 16 ] && [ ${#id} -eq 64 ] && [ ${#signature} -eq 128 ] && [ ${#rest} -eq 202 ] || continue # ID-HINT-SIGNATURE
		case $point in
		newest) ;;
		*@latest)
			dir=${f%/*}
			[ "${dir##*/}" = "${point%@latest}" ] || continue
			;;
		*)
			case $id in
			"$point"*) ;;
			*) continue ;;
			esac
			;;
		esac
		printf '%s %s %s\n' "$stamp" "$id" "$f" >>"$tmp/points"
	done
	sort -r "$tmp/points" >"$tmp/sorted"
	commit=
	matches=0
	while read -r stamp id f; do
		[ "$(sum "$f")" = "$id" ] || continue # not the commit object its name speaks of
		case $point in
		newest | *@latest)
			if [ "$(head -n 1 "$f" | jq -r '.format + (.requires // [] | join(" "))')" != 1-rc ]; then
				printf 'restore-by-hand: point %s needs a newer reader: an older one is taken\n' "$id" >&2
				continue
			fi
			[ "$(head -n 1 "$f" | jq -r .status)" = complete ] || continue
			[ "$(sed -n 2p "$f" | jq -r '.marks // [] | index("empty")')" = null ] || continue
			commit=$f
			chosen=$id
			break
			;;
		esac
		[ "$id" = "${chosen-}" ] || matches=$((matches + 1)) # one ID is one point, however many names hold it
		commit=$f
		chosen=$id
	done <"$tmp/sorted"
	[ -n "$commit" ] || die "no point $point"
	[ "$matches" -le 1 ] || die "$point is the beginning of $matches points: give more of it"
	[ "$(head -n 1 "$commit" | jq -r '.format + " " + .kind + (.requires // [] | join(" "))')" = "1-rc point" ] || die "$commit has a format this script does not know"
	printf 'restore-by-hand: point %s of %s\n' "$chosen" "$(head -n 2 "$commit" | jq -rs '.[0].source + ", taken " + .[1].taken_at + ", " + .[0].status')" >&2
}

# open_object puts the payload of a stored object into $tmp/payload, once for uses in a row.
opened=
open_object() {
	[ "$1" = "$opened" ] && return
	case $1 in
	*..* | /*) die "bad name $1" ;;
	meta/*.age | packs/*.age) ;;
	*) die "bad name $1" ;;
	esac
	file=$vault/$1
	[ -f "$file" ] || file=$vault/${1%%/*}/${1##*/} # where the vault refused the folder, it lies beside it
	[ -f "$file" ] || die "$1 is missing from the vault"
	hash=${1##*/}
	[ "$(sum "$file")" = "${hash%.age}" ] || die "$1 is damaged; look for another version of it in the vault"
	opened=
	"$age" -d -i "$identity" -o "$tmp/payload" "$file" || die "$1 cannot be opened with $identity: it is another key, or age is older than 1.3, which post-quantum keys need"
	opened=$1
}

# frame OBJECT OFFSET LENGTH PLAIN puts one decoded frame into $tmp/frame.
frame() {
	if [ "$4" -eq 0 ]; then
		: >"$tmp/frame"
		return
	fi
	open_object "$1"
	tail -c "+$(($2 + 1))" "$tmp/payload" | head -c "$3" | zstd -dcq >"$tmp/frame"
	[ "$(size "$tmp/frame")" -eq "$4" ] || die "a frame of $1 has the wrong size"
}

# page gets the page that the reference or extent in $tmp/ref names into $tmp/frame.
page() {
	jq -r '[.object, .frame[0], .frame[1], .frame[2], .sha256] | @tsv' "$tmp/ref" >"$tmp/fields"
	read -r object offset length plain hash_of_page <"$tmp/fields"
	frame "$object" "$offset" "$length" "$plain"
	[ "$(sum "$tmp/frame")" = "$hash_of_page" ] || die "a page in $object has the wrong hash"
}

# walk goes through the manifest from its root and hands each leaf that can hold the key to leaf.
walk() {
	sed -n 2p "$commit" | jq -c .manifest >"$tmp/todo"
	root=yes
	while [ -s "$tmp/todo" ]; do
		head -n 1 "$tmp/todo" >"$tmp/ref"
		tail -n +2 "$tmp/todo" >"$tmp/rest"
		level=$(jq '.level // 0' "$tmp/ref")
		page
		if [ -n "$root" ] && [ -s "$tmp/frame" ]; then # its first line is a salt
			[ "$(head -n 1 "$tmp/frame" | jq 'has("salt")')" = true ] || die "the manifest's root has no salt"
			tail -n +2 "$tmp/frame" >"$tmp/children"
			cp "$tmp/children" "$tmp/frame"
		fi
		root=
		if [ "$level" -eq 0 ]; then
			leaf
			mv "$tmp/rest" "$tmp/todo"
			continue
		fi
		# A reference without an object is to one that the page itself is in.
		jq -c --arg object "$object" '.object //= $object' "$tmp/frame" >"$tmp/references"
		# A child can hold the key if it starts at or before it and the next one does not start before it: several versions
		# of one key can lie on both sides of a cut.
		if [ "$mode" = get ]; then
			jq -c -s --arg key "$key64" "$bytes"'($key | from64) as $key | map(to64("first") | from64) as $first | . as $child |
				range(0; length) | select($first[.] <= $key and (. + 1 == ($first | length) or $first[. + 1] >= $key)) | $child[.]' \
				"$tmp/references" >"$tmp/children"
		else
			cp "$tmp/references" "$tmp/children"
		fi
		jq -e -s --argjson level "$level" 'all((.level // 0) == $level - 1)' "$tmp/children" >/dev/null || die "the manifest's levels are wrong"
		cat "$tmp/children" "$tmp/rest" >"$tmp/todo"
	done
}

leaf() {
	if [ "$mode" = list ]; then
		cat "$tmp/frame"
		return
	fi
	jq -c --arg key "$key64" "$bytes"'select(to64("key") == $key)' "$tmp/frame" >>"$tmp/found"
}

# chunks appends the chunks that $tmp/list names, one JSON line each, to the output.
chunks() {
	jq -r 'if .hole then ["hole", .hole] else [.pack, .frame[0], .frame[1], .frame[2], .at // 0, .size, .sha256 // "-"] end | @tsv' "$tmp/list" >"$tmp/table"
	while read -r pack offset length plain at bytes_of_chunk hash_of_chunk; do
		if [ "$pack" = hole ]; then
			truncate -s "+$offset" "$part"
			continue
		fi
		rest=${pack#??}
		frame "packs/${pack%"$rest"}/$pack.age" "$offset" "$length" "$plain"
		tail -c "+$((at + 1))" "$tmp/frame" | head -c "$bytes_of_chunk" >"$tmp/chunk"
		[ "$(size "$tmp/chunk")" -eq "$bytes_of_chunk" ] || die "a chunk in $pack is too short"
		if [ "$hash_of_chunk" != - ]; then # the only chunk of an entry has the entry's own hash, checked at the end
			[ "$(sum "$tmp/chunk")" = "$hash_of_chunk" ] || die "a chunk in $pack has the wrong hash"
		fi
		[ "$sparse" = false ] || printf '%s %s\n' "$(size "$part")" "$bytes_of_chunk" >>"$tmp/data"
		cat "$tmp/chunk" >>"$part"
	done <"$tmp/table"
}

# unhex turns lines of hexadecimal digits into the bytes they stand for.
unhex() {
	awk 'BEGIN { for (i = 0; i < 16; i++) v[substr("0123456789abcdef", i + 1, 1)] = i }
		{ for (i = 1; i < length($0); i += 2) printf "\\0%03o", v[substr($0, i, 1)] * 16 + v[substr($0, i + 1, 1)]; print "" }' |
		while read -r line; do printf '%b' "$line"; done
}

# range_sum adds the range from byte $1, whose chunks are in $tmp/list and were compared, to what an image's sum is made of.
range_sum() {
	jq -r -n --argjson at "$1" 'foreach inputs as $c ({at: $at};
		{at: (.at + ($c.hole // $c.size)), line: (if $c.hole then null else "\(.at / 524288) \($c.sha256)" end)}; .line // empty)' "$tmp/list" |
		while read -r number hash; do printf '%016x%s\n' "$number" "$hash"; done >"$tmp/blocks"
	unhex <"$tmp/blocks" >"$tmp/range"
	printf '%016x%s\n' "$(($1 / 1073741824))" "$(sum "$tmp/range")" >>"$tmp/ranges"
}

# sparse_sums makes, of the blocks of $part that are not all zeros, what a sparse file's sum is made of. $tmp/data says where
# there is data.
sparse_sums() {
	awk '{ for (b = int($1 / 524288); b <= int(($1 + $2 - 1) / 524288); b++) if (b != last || NR == 1) { print b; last = b } }' "$tmp/data" | uniq >"$tmp/numbers"
	current=
	: >"$tmp/blocks"
	while read -r number; do
		dd if="$part" of="$tmp/block" bs=524288 skip="$number" count=1 2>/dev/null
		[ -n "$(tr -d '\000' <"$tmp/block" | head -c 1 | base64)" ] || continue
		if [ "$((number / 2048))" != "$current" ]; then
			end_range
			current=$((number / 2048))
		fi
		printf '%016x%s\n' "$number" "$(sum "$tmp/block")" >>"$tmp/blocks"
	done <"$tmp/numbers"
	end_range
}

# end_range adds the range whose blocks are in $tmp/blocks.
end_range() {
	[ -s "$tmp/blocks" ] || return 0
	unhex <"$tmp/blocks" >"$tmp/range"
	printf '%016x%s\n' "$current" "$(sum "$tmp/range")" >>"$tmp/ranges"
	: >"$tmp/blocks"
}

# extent appends what the extent in $tmp/ref covers to the output.
extent() {
	[ "$(jq .from "$tmp/ref")" -eq "$(size "$part")" ] || die "an extent begins in the wrong place"
	if [ "$(jq '.hole // false' "$tmp/ref")" = true ]; then
		truncate -s "+$(jq .size "$tmp/ref")" "$part"
		return
	fi
	from=$(jq .from "$tmp/ref")
	page
	cp "$tmp/frame" "$tmp/list"
	chunks
	[ "$kind" != image ] || range_sum "$from"
}

choose
: >"$tmp/found"
walk
[ "$mode" = get ] || exit 0

# Of several versions of one key the last one is the current one.
if [ -n "$version" ]; then
	jq -c --arg version "$version" 'select(.version_id == $version)' "$tmp/found" | tail -n 1 >"$tmp/entry"
else
	tail -n 1 "$tmp/found" >"$tmp/entry"
fi
[ -s "$tmp/entry" ] || die "no such key or version in this point"
missing=$(jq -r '.missing // empty' "$tmp/entry")
[ -z "$missing" ] || die "its content could not be read when the point was taken: $missing"
kind=$(jq -r '.kind // "object"' "$tmp/entry")
case $kind in
object | file | image) ;;
marker | dir | symlink | special)
	cat "$tmp/entry"
	die "a $kind has no content; its entry is printed above"
	;;
*)
	cat "$tmp/entry"
	die "entries of kind $kind need a newer reader; its entry is printed above"
	;;
esac

part=$out.part
: >"$part"
sparse=$(jq '.sparse // false' "$tmp/entry")
: >"$tmp/data"
: >"$tmp/ranges"
if [ "$(jq 'has("extents")' "$tmp/entry")" = true ]; then
	jq -c '.extents[]' "$tmp/entry" >"$tmp/extents"
	while read -r line; do
		printf '%s\n' "$line" >"$tmp/ref"
		if [ "$(jq '.level // 0' "$tmp/ref")" -eq 0 ]; then
			extent
			continue
		fi
		page # of extents: those of very large images stand on pages of their own
		cp "$tmp/frame" "$tmp/inner"
		while read -r line; do
			printf '%s\n' "$line" >"$tmp/ref"
			extent
		done <"$tmp/inner"
	done <"$tmp/extents"
else
	jq -c '.chunks // [] | .[]' "$tmp/entry" >"$tmp/list"
	chunks
fi
[ "$(size "$part")" -eq "$(jq .size "$tmp/entry")" ] || die "what came out has the wrong size; left as $part"
[ "$sparse" = false ] || sparse_sums
if [ "$kind" = image ] || [ "$sparse" = true ]; then # of its size and the sums of its ranges
	{
		printf 'holdfast/1/image\0'
		printf '%016x\n' "$(size "$part")" | unhex
		unhex <"$tmp/ranges"
	} >"$tmp/image"
	whole=$(sum "$tmp/image")
else
	whole=$(sum "$part")
fi
[ "$whole" = "$(jq -r .sha256 "$tmp/entry")" ] || die "what came out has the wrong hash; left as $part"
mv "$part" "$out"
jq -c . "$tmp/entry" # with the headers, metadata and tags to put back
