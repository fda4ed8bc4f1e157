package maildir

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Quota is how much a Maildir may hold, as Maildir++ writes it:
// "10000000S,1000C".
type Quota struct {
	Bytes    int64 // of all messages; 0 means any number
	Messages int64 // 0 means any number
}

// ErrQuota is wrapped by the error for a quota that cannot be read.
var ErrQuota = errors.New("bad quota")

// maxAmount bounds each number in a quota and in a maildirsize file, a petabyte,
// so that no sum of them overflows.
const maxAmount = 1 << 50

// ParseQuota reads "10000000S,1000C", with either part or both. A number alone
// is bytes, as in Postfix's VDA patch. "", "0" and "NOQUOTA" are no quota.
func ParseQuota(s string) (Quota, error) {
	var q Quota
	s = strings.TrimSpace(s)
	if s == "" || s == "NOQUOTA" {
		return q, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		amount, into := strings.TrimSpace(part), &q.Bytes
		if digits, ok := strings.CutSuffix(amount, "S"); ok {
			amount = digits
		} else if digits, ok := strings.CutSuffix(amount, "C"); ok {
			amount, into = digits, &q.Messages
		}
		n, err := strconv.ParseUint(amount, 10, 63)
		if err != nil || n > maxAmount {
			return Quota{}, fmt.Errorf("%w: %.100q", ErrQuota, s)
		}
		*into = int64(n)
	}
	return q, nil
}

// String returns what ParseQuota reads.
func (q Quota) String() string {
	var parts []string
	if q.Bytes > 0 {
		parts = append(parts, fmt.Sprintf("%dS", q.Bytes))
	}
	if q.Messages > 0 {
		parts = append(parts, fmt.Sprintf("%dC", q.Messages))
	}
	return strings.Join(parts, ",")
}

// fits reports whether so much may be in the Maildir.
func (q Quota) fits(u usage) bool {
	return (q.Bytes == 0 || u.bytes <= q.Bytes) && (q.Messages == 0 || u.messages <= q.Messages)
}

// usage is how much there is.
type usage struct{ bytes, messages int64 }

func (u usage) plus(v usage) usage { return usage{u.bytes + v.bytes, u.messages + v.messages} }

func (u usage) minus(v usage) usage { return usage{u.bytes - v.bytes, u.messages - v.messages} }

// line is an entry of a maildirsize file. It is padded to 14 bytes as Courier's
// are.
func (u usage) line() string {
	return fmt.Sprintf("%-13s\n", fmt.Sprintf("%d %d", u.bytes, u.messages))
}

// sizes is what a maildirsize file says.
type sizes struct {
	quota   Quota
	limited bool // the first line is a quota
	sum     usage
	entries int
}

// maxSizes is the size in bytes at which a maildirsize file is replaced.
const maxSizes = 5120

// errSizes is the reason to count again.
var errSizes = errors.New("maildirsize cannot be used")

// parseSizes reads a maildirsize file. What it says of the quota is good also
// when the entries are not.
func parseSizes(b []byte) (s sizes, err error) {
	header, entries, _ := bytes.Cut(b, []byte("\n"))
	if s.quota, err = ParseQuota(string(header)); err == nil {
		s.limited = s.quota != Quota{}
	}
	if err != nil || len(b) >= maxSizes || len(entries) == 0 || entries[len(entries)-1] != '\n' {
		return s, errSizes
	}
	for line := range bytes.Lines(entries) {
		u, err := parseEntry(string(line))
		if err != nil {
			return s, err
		}
		s.sum = s.sum.plus(u)
		s.entries++
	}
	if s.sum.bytes < 0 || s.sum.messages < 0 {
		return s, errSizes
	}
	return s, nil
}

// parseEntry reads "4711 1", with any white space.
func parseEntry(line string) (u usage, err error) {
	words := strings.Fields(line)
	if len(words) != 2 {
		return u, errSizes
	}
	for i, into := range []*int64{&u.bytes, &u.messages} {
		if *into, err = strconv.ParseInt(words[i], 10, 64); err != nil || *into > maxAmount || *into < -maxAmount {
			return u, errSizes
		}
	}
	return u, nil
}
