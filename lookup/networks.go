package lookup

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
)

// NetworkList is a list of networks, as Postfix's mynetworks is one: the first
// entry that holds an address decides, and one that starts with "!" says that
// the address is not in the list. It must not be copied.
type NetworkList struct {
	list     []listed
	prefixes *prefixes
}

type listed struct {
	network netip.Prefix
	out     bool   // "!"
	value   string // of what is in
}

// Networks makes a list of networks: "127.0.0.0/8", "[::1]/128", "!10.0.0.1".
// The value of the addresses in it is "OK".
func Networks(entries ...string) (*NetworkList, error) {
	l := &NetworkList{}
	for _, e := range entries {
		if err := l.add(e, "OK"); err != nil {
			return nil, fmt.Errorf("networks: %w", err)
		}
	}
	l.index()
	return l, nil
}

// ParseNetworks makes a list of a text with a network on each line, and
// perhaps a value behind it, or with several networks on a line, parted by
// white space or commas. Without a value it is Options.Bare, or "OK". Bad lines
// are reported and skipped.
//
// A cidr table of networks can be read as such a list; only "!" differs: here
// it takes networks out, there it stands for all the others.
func ParseNetworks(file, text string, o Options) (*NetworkList, []error) {
	var problems problems
	l := &NetworkList{}
	if o.Bare == "" {
		o.Bare = "OK"
	}
	for line, err := range Lines(file, text) {
		if err == nil {
			err = l.addLine(file, line, o.Bare)
		}
		if err != nil {
			problems.add(err)
		}
	}
	l.index()
	return l, problems.all()
}

func (l *NetworkList) addLine(file string, line Line, bare string) error {
	words := strings.FieldsFunc(line.Text, func(r rune) bool { return r == ',' || strings.ContainsRune(space, r) })
	if len(words) > 1 && !seemsNetwork(words[1]) {
		_, bare, _ = strings.Cut(line.Text, words[0])
		bare = strings.Trim(bare, space+",")
		words = words[:1]
	}
	for _, w := range words {
		if err := l.add(w, bare); err != nil {
			return &LineError{file, line.Number, err.Error() + ", skipped"}
		}
	}
	return nil
}

// seemsNetwork tells a second network from a value. A network with a fault in
// it must not become the value of the one before.
func seemsNetwork(s string) bool { return strings.ContainsAny(s, "!.:/[") }

func (l *NetworkList) add(s, value string) error {
	out, s := negation(s)
	network, err := ParseNetwork(s)
	if err != nil {
		return err
	}
	l.list = append(l.list, listed{network, out, value})
	return nil
}

// Lookup reports whether key is an address in the list.
func (l *NetworkList) Lookup(_ context.Context, key string) (value string, ok bool, err error) {
	addr, ok := parseAddr(key)
	if !ok {
		return "", false, nil
	}
	if l.prefixes == nil {
		return "", false, nil // the zero value
	}
	first := l.prefixes.find(addr, none, nil)
	if addr.Is4In6() {
		first = l.prefixes.find(addr.Unmap(), first, nil)
	}
	if first == none || l.list[first].out {
		return "", false, nil
	}
	return l.list[first].value, true, nil
}

// index makes ready for Lookup.
func (l *NetworkList) index() {
	all := make([]netip.Prefix, len(l.list))
	for i := range l.list {
		all[i] = l.list[i].network
	}
	l.prefixes = newPrefixes(all, func(int) bool { return true }, func(int) bool { return false })
}

// FullKeyOnly returns true.
func (l *NetworkList) FullKeyOnly() bool { return true }

// Len returns the number of entries.
func (l *NetworkList) Len() int { return len(l.list) }
