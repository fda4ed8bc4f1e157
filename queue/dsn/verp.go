package dsn

import "strings"

// VERP makes and reads sender addresses that name their recipient, so that what
// comes back tells by its address who did not get it: variable envelope return
// paths. owner-list@example.org, for bob@example.net, is
// owner-list+bob=example.net@example.org.
type VERP struct {
	// Delimiters are the characters before the recipient, and in place of its
	// "@"; "" means "+=".
	Delimiters string
}

func (v VERP) delimiters() (before, at string) {
	if len(v.Delimiters) != 2 {
		return "+", "="
	}
	return v.Delimiters[:1], v.Delimiters[1:]
}

// Encode returns the address for one recipient. Quoted addresses, and those
// without a domain, have none: ok is false.
func (v VERP) Encode(sender, recipient string) (address string, ok bool) {
	before, at := v.delimiters()
	local, domain, ok := cutAddress(sender)
	to, toDomain, ok2 := cutAddress(recipient)
	if !ok || !ok2 {
		return "", false
	}
	return local + before + to + at + toDomain + "@" + domain, true
}

// Decode returns the recipient in an address that Encode has made of sender. The
// domain of sender is compared in any case, the local part as it is. ok is false
// when the address is none.
func (v VERP) Decode(address, sender string) (recipient string, ok bool) {
	before, at := v.delimiters()
	local, domain, ok := cutAddress(address)
	prefix, senderDomain, ok2 := cutAddress(sender)
	if !ok || !ok2 || !strings.EqualFold(domain, senderDomain) {
		return "", false
	}
	if local, ok = strings.CutPrefix(local, prefix+before); !ok {
		return "", false
	}
	i := strings.LastIndex(local, at) // no domain has one in it
	if i <= 0 || i == len(local)-1 {
		return "", false
	}
	return local[:i] + "@" + local[i+1:], true
}

// cutAddress returns the halves of an address that is not quoted.
func cutAddress(s string) (local, domain string, ok bool) {
	i := strings.LastIndexByte(s, '@')
	if i <= 0 || i == len(s)-1 || strings.ContainsAny(s, "\" ") || strings.Contains(s[:i], "@") {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}
