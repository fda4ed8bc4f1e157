package lookup

import (
	"context"
	"iter"
	"strings"
)

// Entry is a key and its value with the line they stand in.
type Entry struct {
	Key   string // as written: in its case and with its quotes
	Value string // without white space around it; "" when there is none
	Line  int    // where the entry starts, from 1
}

// Entries yields the entries of a text in the format of postmap(1), "key
// value": the key ends at the first white space that is neither quoted ("a b")
// nor behind a backslash, and keeps its quotes. A line that is none is yielded
// as a *LineError. A key without a value is yielded with an empty value; what
// that means is up to the caller.
func Entries(file, text string) iter.Seq2[Entry, error] {
	return entries(file, text, splitEntry)
}

// AliasEntries yields the entries of a text in the format of aliases(5),
// "key: value". The key may stand in double quotes, which are removed.
func AliasEntries(file, text string) iter.Seq2[Entry, error] {
	return entries(file, text, splitAlias)
}

func entries(file, text string, split func(string) (key, value, reason string)) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for line, err := range Lines(file, text) {
			e := Entry{Line: line.Number}
			if err == nil {
				var reason string
				if e.Key, e.Value, reason = split(line.Text); reason != "" {
					err = &LineError{file, line.Number, reason + ", line skipped"}
				}
			}
			if err != nil {
				e = Entry{}
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// splitEntry parts "key value".
func splitEntry(line string) (key, value, reason string) {
	quoted := false
	end := len(line)
	for i := 0; i < end; i++ {
		switch c := line[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && isSpace(c):
			end = i
		}
	}
	if quoted {
		return "", "", "unbalanced double quote"
	}
	return line[:end], strings.Trim(line[end:], space), ""
}

// splitAlias parts "key: value". The colon that ends a key is the first one
// outside of quotes.
func splitAlias(line string) (key, value, reason string) {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ':' && !quoted:
			return aliasKey(line[:i], line[i+1:])
		}
	}
	if quoted {
		return "", "", "unbalanced double quote"
	}
	return "", "", `no colon, expected "name: value"`
}

func aliasKey(key, value string) (string, string, string) {
	key = strings.TrimRight(key, space)
	if strings.HasPrefix(key, `"`) {
		key = Unquote(key)
	} else if strings.ContainsAny(key, space) {
		return "", "", "white space in the name"
	}
	if key == "" {
		return "", "", "no name before the colon"
	}
	return key, strings.Trim(value, space), ""
}

// IsAliases reports whether a text is one of aliases(5) and none of postmap(1), which
// "hash:/etc/aliases" does not say: what would be its keys for postmap all end with a
// colon and have no other one, as addresses, domains and networks do not.
func IsAliases(file, text string) bool {
	aliases := false
	for e, err := range Entries(file, text) {
		_, rest, reason := splitAlias(e.Key)
		switch {
		case err == nil && reason == "" && rest == "":
			aliases = true
		case err != nil, strings.HasPrefix(e.Value, ":"), reason == "" && (e.Value == "" || strings.HasSuffix(rest, ",")):
			// "name : a", "name:a" and "name:a, b" are odd, and no reason for either.
		default:
			return false
		}
	}
	return aliases
}

// Hash is a table of fixed keys in memory.
type Hash struct{ values map[string]string }

// ParseHash makes a table of a text in the format of postmap(1); file is its
// name in errors. Bad lines are reported and skipped. Of two lines with the
// same key the first counts.
func ParseHash(file, text string, o Options) (*Hash, []error) {
	return newHash(file, Entries(file, text), text, o)
}

// ParseAliases makes a table of a text in the format of aliases(5). See
// ParseHash.
func ParseAliases(file, text string, o Options) (*Hash, []error) {
	return newHash(file, AliasEntries(file, text), text, o)
}

// parseEither reads a text of postmap(1) or of postalias(1).
func parseEither(file, text string, o Options) (LookupTable, []error) {
	if IsAliases(file, text) {
		return ParseAliases(file, text, o)
	}
	return ParseHash(file, text, o)
}

func newHash(file string, entries iter.Seq2[Entry, error], text string, o Options) (*Hash, []error) {
	// How many lines are comments is not known. Half of them is a guess with
	// which the map has to grow once at most, and is never much too big. That lines
	// have 8 bytes keeps a text of empty ones from taking 80 times its size.
	lines := min(strings.Count(text, "\n"), len(text)/8)
	h := &Hash{values: make(map[string]string, lines+1)}
	var problems problems
	for e, err := range entries {
		if err != nil {
			problems.add(err)
			continue
		}
		if reason := h.add(e, o.Bare); reason != "" {
			problems.add(&LineError{file, e.Line, reason})
		}
	}
	return h, problems.all()
}

// add puts an entry into the table, or says why not, or what is odd about it.
func (h *Hash) add(e Entry, bare string) string {
	if e.Value == "" {
		e.Value = bare
	}
	if e.Value == "" {
		return "key without a value, line skipped"
	}
	key := Fold(e.Key)
	if _, ok := h.values[key]; ok {
		return "key " + quoteShort(key) + " stands there already, line skipped"
	}
	h.values[key] = e.Value
	if strings.HasSuffix(key, ":") && key != ":" {
		return "key " + quoteShort(key) + " ends with a colon: is this an alias file?"
	}
	return ""
}

// Lookup returns the value under key, in any case.
func (h *Hash) Lookup(_ context.Context, key string) (value string, ok bool, err error) {
	// Most keys are in lower case. What is found as it stands need not be folded,
	// since keys in the table are: folding waits for the key, and a processor that
	// waits does not look ahead to the table.
	if value, ok = h.values[key]; ok {
		return value, true, nil
	}
	if folded := Fold(key); folded != key {
		value, ok = h.values[folded]
	}
	return value, ok, nil
}

// Len returns the number of keys.
func (h *Hash) Len() int { return len(h.values) }
