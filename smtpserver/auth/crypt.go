package auth

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/go-crypt/crypt/algorithm"
	"github.com/go-crypt/crypt/algorithm/bcrypt"
	"github.com/go-crypt/crypt/algorithm/md5crypt"
	"github.com/go-crypt/crypt/algorithm/shacrypt"
)

// Lengths of crypt(3) hashes, in characters.
const (
	md5Sum, md5Salt       = 22, 8
	sha256Sum, sha512Sum  = 43, 86
	shaSalt               = 16
	minRounds, lessRounds = 1000, 5000 // of SHA-crypt: the fewest, and those without "rounds="
	bcryptSum             = 53         // salt and hash
	minCost               = 4
	bcryptPassword        = 72 // bcrypt looks at no more
)

// parseCrypt reads a crypt(3) hash, "$id$salt$hash", or the traditional one. It
// checks all that the library would take on trust: costs, and the form of each
// part.
func parseCrypt(text string, l limits) (secret, error) {
	if !strings.HasPrefix(text, "$") {
		return parseDES(text)
	}
	parts := strings.Split(text, "$")
	if len(parts) < 4 {
		return secret{}, fmt.Errorf("%w: no crypt hash", ErrSecret)
	}
	switch parts[1] {
	case "1":
		return parseSalted(secret{kind: md5Crypt}, parts[2:], md5Salt, md5Sum)
	case "5", "6":
		return parseSHACrypt(parts[1], parts[2:], l)
	case "2a", "2b", "2y":
		return parseBcrypt(parts[2:], l)
	}
	return secret{}, fmt.Errorf("%w: unknown crypt id %.20q", ErrSecret, parts[1])
}

func parseSHACrypt(id string, parts []string, l limits) (secret, error) {
	s, sum := secret{kind: shaCrypt256, rounds: lessRounds}, sha256Sum
	if id == "6" {
		s.kind, sum = shaCrypt512, sha512Sum
	}
	if text, ok := strings.CutPrefix(parts[0], "rounds="); ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < minRounds || n > l.rounds {
			return secret{}, fmt.Errorf("%w: %.20q rounds, allowed are %d to %d", ErrSecret, text, minRounds, l.rounds)
		}
		s.rounds, parts = n, parts[1:]
	}
	return parseSalted(s, parts, shaSalt, sum)
}

// parseSalted reads "salt$hash".
func parseSalted(s secret, parts []string, maxSalt, sum int) (secret, error) {
	if len(parts) != 2 || len(parts[0]) == 0 || len(parts[0]) > maxSalt || len(parts[1]) != sum || !isCrypt64(parts[1]) {
		return secret{}, fmt.Errorf("%w: malformed crypt hash", ErrSecret)
	}
	s.salt, s.sum = []byte(parts[0]), []byte(parts[1])
	return s, nil
}

func parseBcrypt(parts []string, l limits) (secret, error) {
	if len(parts) != 2 || len(parts[0]) != 2 || len(parts[1]) != bcryptSum || !isCrypt64(parts[1]) {
		return secret{}, fmt.Errorf("%w: malformed bcrypt hash", ErrSecret)
	}
	cost, err := strconv.Atoi(parts[0])
	if err != nil || cost < minCost || cost > l.cost {
		return secret{}, fmt.Errorf("%w: bcrypt cost %q, allowed are %d to %d", ErrSecret, parts[0], minCost, l.cost)
	}
	return secret{kind: bCrypt, rounds: cost, sum: []byte(parts[1])}, nil
}

// isCrypt64 reports whether text has only the 64 characters of crypt(3).
func isCrypt64(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '/')
	}) < 0
}

// matchCrypt computes a crypt(3) hash. The library compares in constant time.
func (s secret) matchCrypt(password []byte) (bool, error) {
	d, err := s.digest()
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrSecret, err)
	}
	if s.kind == bCrypt && len(password) > bcryptPassword {
		password = password[:bcryptPassword]
	}
	match, err := d.MatchBytesAdvanced(password)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrSecret, err)
	}
	return match, nil
}

func (s secret) digest() (algorithm.Digest, error) {
	switch s.kind {
	case md5Crypt:
		return md5crypt.Decode(fmt.Sprintf("$1$%s$%s", s.salt, s.sum))
	case shaCrypt256:
		return shacrypt.Decode(fmt.Sprintf("$5$rounds=%d$%s$%s", s.rounds, s.salt, s.sum))
	case shaCrypt512:
		return shacrypt.Decode(fmt.Sprintf("$6$rounds=%d$%s$%s", s.rounds, s.salt, s.sum))
	case bCrypt:
		// The letter after 2 tells which old program had which bug: none of them
		// changes the hash of a password that is checked here.
		return bcrypt.Decode(fmt.Sprintf("$2b$%02d$%s", s.rounds, s.sum))
	}
	return nil, fmt.Errorf("kind %d is no crypt hash", s.kind)
}
