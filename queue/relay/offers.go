package relay

import "strings"

// offers is what EHLO brought.
type offers struct {
	pipelining, eightBit, dsn, utf8, startTLS, size bool

	maxSize int64    // with size; 0 means that the server did not say
	auth    []string // mechanisms, upper case
}

// parseOffers reads the lines behind the first of a reply to EHLO.
func parseOffers(text string) offers {
	var o offers
	_, text, _ = strings.Cut(text, "\n")
	for line := range strings.SplitSeq(strings.ToUpper(text), "\n") {
		// "AUTH=LOGIN" and "SIZE=1000" are old forms of some servers.
		words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '=' })
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "PIPELINING":
			o.pipelining = true
		case "8BITMIME":
			o.eightBit = true
		case "DSN":
			o.dsn = true
		case "SMTPUTF8":
			o.utf8 = true
		case "STARTTLS":
			o.startTLS = true
		case "AUTH":
			o.auth = append(o.auth, words[1:]...)
		case "SIZE":
			o.size = true
			if len(words) > 1 {
				o.maxSize = sizeValue(words[1])
			}
		}
	}
	return o
}

// sizeValue reads what SIZE announces; what is no number announces nothing.
func sizeValue(s string) int64 {
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || n > 1<<58 {
			return 0
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n
}
