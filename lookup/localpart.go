package lookup

import "strings"

// address is a mail address in its parts.
type address struct {
	local     string // as it came, perhaps quoted, with its extension
	domain    string // "" when there is no "@"
	user      string // local part without quotes, without its extension
	extension string // with its delimiter; "" when there is none
}

// splitAddress parts an address at its last "@", and its user from an extension
// at the first of the delimiters.
func splitAddress(s, delimiters string) address {
	a := address{local: s}
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		a.local, a.domain = s[:at], s[at+1:]
	}
	a.user = Unquote(a.local)
	if i := extensionAt(a.user, delimiters); i > 0 {
		a.user, a.extension = a.user[:i], a.user[i:]
	}
	return a
}

// extensionAt returns where the extension of a user starts, or -1. The names
// that a mail system sends with, and lists' owner- and -request when the
// delimiter is "-", have none, whatever they look like.
func extensionAt(user, delimiters string) int {
	i := strings.IndexAny(user, delimiters)
	if i <= 0 {
		return -1
	}
	if strings.EqualFold(user, "mailer-daemon") || strings.EqualFold(user, "double-bounce") {
		return -1
	}
	if user[i] == '-' && (len(user) > 6 && strings.EqualFold(user[:6], "owner-") ||
		len(user) > 8 && strings.EqualFold(user[len(user)-8:], "-request")) {
		return -1
	}
	return i
}

// forms returns the ways to write the local part with its extension, with
// suffix behind them: as it came, and without quotes.
func (a address) forms(suffix string) []string {
	return []string{a.local + suffix, a.user + a.extension + suffix}
}

// plainForms are the forms without the extension, quoted first if need be.
func (a address) plainForms(suffix string) []string {
	if a.user == "" {
		return nil
	}
	return []string{Quote(a.user) + suffix, a.user + suffix}
}

// Quote returns a local part as RFC 5321, section 4.1.2 wants it written: in
// quotes, unless it is a dot-string.
func Quote(local string) string {
	if isDotString(local) {
		return local
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(local); i++ {
		if local[i] == '"' || local[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(local[i])
	}
	b.WriteByte('"')
	return b.String()
}

// Unquote returns a local part without its quotes and backslashes.
func Unquote(local string) string {
	if !strings.ContainsAny(local, `"\`) {
		return local
	}
	var b strings.Builder
	for i := 0; i < len(local); i++ {
		switch c := local[i]; {
		case c == '\\' && i+1 < len(local):
			i++
			b.WriteByte(local[i])
		case c != '"':
			b.WriteByte(c)
		}
	}
	return b.String()
}

func isDotString(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x80 && !isAlnum(c) && !strings.ContainsRune(".!#$%&'*+-/=?^_`{|}~", rune(c)) {
			return false
		}
	}
	return true
}
