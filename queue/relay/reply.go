package relay

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-smtp"
)

// Bounds of a reply (RFC 5321, section 4.5.3.1.5, has 512 octets a line). The
// text beyond replyText is read and forgotten.
const (
	replyLine  = 4096 // octets
	replyLines = 256
	replyText  = 4096 // octets
)

// errProtocol is wrapped when the peer said what is not SMTP.
var errProtocol = errors.New("protocol error")

// readReply reads a reply of one or more lines; r's buffer is replyLine long.
// The code of the last line counts. Message has the text of the lines, parted
// by "\n" and without control characters, and without the enhanced code where
// there is one.
func readReply(r *bufio.Reader) (*smtp.SMTPError, error) {
	reply := &smtp.SMTPError{EnhancedCode: smtp.NoEnhancedCode}
	var text strings.Builder
	for n := range replyLines {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("%w: reply line is too long", errProtocol)
		}
		if err != nil {
			return nil, err
		}
		code, more, rest, ok := replyFields(strings.TrimRight(string(line), "\r\n"))
		if !ok {
			return nil, fmt.Errorf("%w: not a reply: %.80q", errProtocol, line)
		}
		if text.Len()+len(rest) < replyText {
			if n > 0 {
				text.WriteByte('\n')
			}
			text.WriteString(rest)
		}
		if !more {
			reply.Code = code
			reply.EnhancedCode, reply.Message = cutEnhancedCode(code, text.String())
			return reply, nil
		}
	}
	return nil, fmt.Errorf("%w: reply has too many lines", errProtocol)
}

// replyFields reads "250-text", "250 text" or "250".
func replyFields(line string) (code int, more bool, text string, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' {
		return 0, false, "", false
	}
	code, err := strconv.Atoi(line[:3])
	if err != nil || code < 200 {
		return 0, false, "", false
	}
	if len(line) == 3 {
		return code, false, "", true
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, false, "", false
	}
	return code, line[3] == '-', printable(line[4:]), true
}

// printable replaces what could do harm in a log, on a terminal or in a report.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < ' ', r == utf8.RuneError, r >= 0x7f && r < 0xa0, r == 0x2028, r == 0x2029:
			return '?'
		}
		return r
	}, s)
}

// cutEnhancedCode takes the code that starts a line (RFC 2034) away from all
// lines that start with it. One of another class than the reply's is text.
func cutEnhancedCode(code int, text string) (smtp.EnhancedCode, string) {
	first, _, _ := strings.Cut(text, "\n")
	word, _, _ := strings.Cut(first, " ")
	status, ok := parseEnhancedCode(word)
	if !ok || status[0] != code/100 {
		return smtp.NoEnhancedCode, text
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if rest, ok := strings.CutPrefix(line, word); ok && (rest == "" || rest[0] == ' ') {
			lines[i] = strings.TrimPrefix(rest, " ")
		}
	}
	return status, strings.Join(lines, "\n")
}

// parseEnhancedCode reads "5.1.1" (RFC 3463, section 2).
func parseEnhancedCode(s string) (code smtp.EnhancedCode, ok bool) {
	if len(s) < 5 || s[0] != '2' && s[0] != '4' && s[0] != '5' || s[1] != '.' {
		return code, false
	}
	for i := range code {
		digits, rest, _ := strings.Cut(s, ".")
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || len(digits) > 3 {
			return smtp.EnhancedCode{}, false
		}
		code[i], s = int(n), rest
	}
	return code, s == ""
}

// status returns the reply's enhanced code, or the general one of its class.
func status(reply *smtp.SMTPError) smtp.EnhancedCode {
	if reply.EnhancedCode[0] > 0 {
		return reply.EnhancedCode
	}
	return smtp.EnhancedCode{reply.Code / 100, 0, 0}
}
