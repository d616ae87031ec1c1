# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Programs of Debian's other suites, unpacked beside this machine's own and never
# installed. An apt with folders of its own takes them, and all that they depend on,
# from the mirror that this machine uses. Where their libc is newer than this
# machine's they are led to it: their ELF interpreter and library path are rewritten
# (patchelf), so that a process of theirs looks as any other, in /proc too.
# To be sourced after common.sh.

SUITES="${KVMBPF_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kvmbpf}/suites"
LIBRARIES=lib/x86_64-linux-gnu
LOADER=ld-linux-x86-64.so.2

# debian_codename: this machine's suite; empty where this is no Debian.
debian_codename() {
	# shellcheck source=/dev/null
	(. /etc/os-release && [ "$ID" = debian ] && printf '%s' "${VERSION_CODENAME:-}")
}

# debian_mirror: where this machine takes its own suite from.
debian_mirror() {
	# shellcheck disable=SC2016 # apt expands these
	apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT) $(LABEL)' |
		awk -v suite="$(debian_codename)" \
			'$2 == suite && $3 == "main" && $4 == "Debian" { print $1; exit }'
}

# suite_apt SUITE COMMAND ARGUMENT...: an apt that knows that suite only, and no package of
# this machine.
suite_apt() {
	local folder="$SUITES/$1/apt" command="$2"
	shift 2
	"$command" -q -o "Dir::State=$folder/state" -o Dir::State::status=/dev/null \
		-o "Dir::Cache=$folder/cache" -o "Dir::Etc::sourcelist=$folder/sources.list" \
		-o Dir::Etc::sourceparts=- -o Dir::Etc::preferences=- -o Dir::Etc::preferencesparts=- \
		-o APT::Sandbox::User=root -o APT::Install-Recommends=false \
		-o Acquire::Languages=none "$@"
}

# suite_update SUITE: read the suite's index, at most once in a run. An old one will do
# where the mirror cannot be reached.
suite_update() {
	local suite="$1" folder="$SUITES/$1/apt" mirror log
	[ -z "$(eval "printf '%s' \"\${UPDATED_$suite:-}\"")" ] || return 0
	mirror="$(debian_mirror)"
	[ -n "$mirror" ] || {
		say "apt knows no Debian mirror here"
		return 1
	}
	mkdir -p "$folder/state/lists/partial" "$folder/cache/archives/partial"
	printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
		"$mirror" "$suite" >"$folder/sources.list"
	log="$folder/update.log"
	if ! suite_apt "$suite" apt-get -o APT::Update::Error-Mode=any update >"$log" 2>&1; then
		compgen -G "$folder/state/lists/*_Packages*" >/dev/null || {
			say "$suite: $(grep -m 1 '^[EW]:' "$log" || tail -n 1 "$log")"
			return 1
		}
		say "$suite: the mirror does not answer; its index of before is used"
	fi
	eval "UPDATED_$suite=1"
}

# unpack_suite SUITE NAME PACKAGE...: unpack packages and what they need; ROOTS[NAME] is the
# folder then. One that the cache has is taken; older ones of the name are removed.
declare -A ROOTS=()
unpack_suite() {
	local lock status=0
	mkdir -p "$SUITES"
	exec {lock}>"$SUITES/lock"
	flock "$lock"
	unpack_locked "$@" || status=$?
	exec {lock}>&-
	return "$status"
}

unpack_locked() {
	local suite="$1" name="$2" digest folder deb own
	shift 2
	suite_update "$suite" || return 1
	digest="$(suite_apt "$suite" apt-get install --print-uris -y "$@" 2>/dev/null |
		grep "^'" | awk '{ print $2, $4 }' | sort | sha256sum | cut -c 1-16)"
	folder="$SUITES/$suite/$name-$digest"
	ROOTS[$name]="$folder"
	[ ! -e "$folder/complete" ] || return 0
	rm -f "$SUITES/$suite/apt/cache/archives/"*.deb # of a run that was ended
	if ! suite_apt "$suite" apt-get install --download-only -y "$@" >"$SUITES/$suite/$name.log" 2>&1; then
		say "$suite: $* cannot be had: $(grep -m 1 '^E:' "$SUITES/$suite/$name.log")"
		return 1
	fi
	rm -rf "$SUITES/$suite/$name-"*
	mkdir -p "$folder"
	own="$(dpkg-query -W -f '${Version}' libc6)"
	for deb in "$SUITES/$suite/apt/cache/archives/"*.deb; do
		# A libc older than this machine's would be in the way of its own libraries.
		if [ "$(dpkg-deb -f "$deb" Package)" = libc6 ] &&
			dpkg --compare-versions "$(dpkg-deb -f "$deb" Version)" le "$own"; then
			continue
		fi
		dpkg-deb -x "$deb" "$folder"
	done
	rm -f "$SUITES/$suite/apt/cache/archives/"*.deb
	touch "$folder/complete"
}

# lead_to_libraries ROOT PROGRAM...: have programs of a root use the libraries there.
lead_to_libraries() {
	local root="$1" program loader
	shift
	unpack_suite "$(debian_codename)" patchelf patchelf || return 1
	for program in "$@"; do
		program="$root/usr/bin/$program"
		[ ! -e "$program.led" ] || continue
		cp "$program" "$program.new"
		for loader in "$root/usr/$LIBRARIES/$LOADER" "$root/$LIBRARIES/$LOADER"; do
			[ ! -e "$loader" ] ||
				"${ROOTS[patchelf]}/usr/bin/patchelf" --set-interpreter "$loader" "$program.new"
		done
		"${ROOTS[patchelf]}/usr/bin/patchelf" --force-rpath \
			--set-rpath "$root/usr/$LIBRARIES:$root/$LIBRARIES" "$program.new"
		mv "$program.new" "$program"
		touch "$program.led"
	done
}
