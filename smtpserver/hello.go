package smtpserver

import (
	"os"
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"
)

func (s *Server) hostname() string {
	if s.Hostname != "" {
		return s.Hostname
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "localhost"
}

func (s *Server) banner() string {
	switch {
	case s.Banner != "":
		return s.Banner
	case s.LMTP:
		return "LMTP mtakit"
	}
	return "ESMTP mtakit"
}

func (c *Conn) helo(arg []byte) { c.hello("HELO", arg) }
func (c *Conn) ehlo(arg []byte) { c.hello("EHLO", arg) }
func (c *Conn) lhlo(arg []byte) { c.hello("LHLO", arg) }

// hello is HELO, EHLO and LHLO (RFC 5321, section 4.1.1.1; RFC 2033, section
// 4.1): a greeting, which also does what RSET does.
func (c *Conn) hello(verb string, arg []byte) {
	if c.server.LMTP != (verb == "LHLO") {
		c.reply(500, smtp.EnhancedCode{5, 5, 2}, "Error: command not recognized")
		return
	}
	name := heloName(arg)
	if name == "" {
		c.reply(501, smtp.NoEnhancedCode, "Syntax: "+verb+" hostname")
		return
	}
	c.reset()
	c.verb, c.client.HELO = verb, name
	var keywords []string
	if verb != "HELO" {
		keywords = c.keywords()
	}
	keywords, r := c.askHELO(verb, name, keywords)
	if r != nil && r.Code/100 != 2 {
		c.verb, c.client.HELO = "", ""
		c.send(&smtp.SMTPError{Code: r.Code, EnhancedCode: smtp.NoEnhancedCode, Message: r.Message})
		return
	}
	lines := c.server.hostname()
	if r != nil {
		lines = strings.ReplaceAll(r.Message, "\n", " ")
	}
	for _, k := range keywords {
		lines += "\n" + strings.ReplaceAll(k, "\n", " ")
	}
	c.reply(250, smtp.NoEnhancedCode, lines)
}

// askHELO lets the session have its say. A 2xx reply replaces the host name line.
func (c *Conn) askHELO(verb, name string, keywords []string) ([]string, *smtp.SMTPError) {
	s, ok := c.session.(HELOSession)
	if !ok {
		return keywords, nil
	}
	edited, err := s.HELO(c.ctx, verb, name, keywords)
	if verb == "HELO" {
		edited = nil
	}
	return edited, c.replyOf(err)
}

// heloName returns the first word of the argument with a question mark for each
// character that could mean something in a header or in a table, as Postfix
// does; "" when there is none, or when it is too long for a name.
func heloName(arg []byte) string {
	word := string(arg)
	if i := strings.IndexAny(word, " \t"); i >= 0 {
		word = word[:i]
	}
	if len(word) > maxDomain {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`<>()\";@`, r) {
			return '?'
		}
		return r
	}, word)
}

// keywords returns what EHLO offers, in Postfix's order.
func (c *Conn) keywords() []string {
	size := "SIZE"
	if c.server.MaxSize > 0 {
		size += " " + strconv.FormatInt(c.server.MaxSize, 10)
	}
	list := append(make([]string, 0, 12), "PIPELINING", size, "VRFY")
	if _, ok := c.session.(ETRNSession); ok {
		list = append(list, "ETRN")
	}
	if c.server.TLSConfig != nil && c.tls == nil {
		list = append(list, "STARTTLS")
	}
	if mechs := c.mechanisms(); len(mechs) > 0 && c.client.Login == "" {
		list = append(list, "AUTH "+strings.Join(mechs, " "))
	}
	return append(list, "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING")
}
