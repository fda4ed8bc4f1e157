package dnstest

import (
	"net"
	"strings"

	"github.com/miekg/dns"
)

// Fault is a way to answer wrongly.
type Fault int

// What may go wrong with an answer.
const (
	None      Fault = iota
	ServFail        // SERVFAIL
	Refused         // REFUSED
	NXDomain        // NXDOMAIN although there are records
	Silent          // no answer at all
	Garbage         // bytes that are no DNS message
	WrongID         // the right answer with another message's ID
	WrongName       // an answer to a question that nobody asked
	Truncated       // UDP answers are cut off, so that the client has to come by TCP
	CNAMELoop       // a CNAME that leads back to the name
	Spoofed         // beside the answer, records of names that nobody asked for
)

// ServeDNS answers one question.
func (s *Server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	if len(q.Question) != 1 {
		return
	}
	question := q.Question[0]
	reply, fault := s.reply(q)
	switch fault {
	case Silent:
		return
	case Garbage:
		_, _ = w.Write([]byte("\x00not a DNS message\xff"))
		return
	case WrongID:
		reply.Id++
	case WrongName:
		reply.Question[0].Name = "other.invalid."
	case Truncated:
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			reply.Truncated, reply.Answer = true, nil
		}
	case CNAMELoop:
		reply.Rcode = dns.RcodeSuccess
		reply.Answer = []dns.RR{&dns.CNAME{Hdr: header(question.Name, dns.TypeCNAME), Target: question.Name}}
	case Spoofed:
		reply.Answer = append([]dns.RR{
			&dns.MX{Hdr: header("spoofed.invalid.", dns.TypeMX), Mx: "spoofed.invalid."},
			&dns.A{Hdr: header("spoofed.invalid.", dns.TypeA), A: net.IPv4(203, 0, 113, 66)},
		}, reply.Answer...)
	}
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		size := dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = int(o.UDPSize())
		}
		reply.Truncate(size)
	}
	_ = w.WriteMsg(reply)
}

func header(name string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: 60}
}

// reply makes the answer, and says what is to go wrong with it.
func (s *Server) reply(q *dns.Msg) (*dns.Msg, Fault) {
	question := q.Question[0]
	name, rrtype := strings.ToLower(question.Name), dns.TypeToString[question.Qtype]
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true

	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries = append(s.queries, name+" "+rrtype)
	fault := s.faults[strings.ToLower(name+" "+rrtype)]
	if fault == None {
		fault = s.faults[name]
	}
	switch fault {
	case ServFail:
		m.Rcode = dns.RcodeServerFailure
	case Refused:
		m.Rcode = dns.RcodeRefused
	case NXDomain:
		m.Rcode = dns.RcodeNameError
	default:
		m.Answer, m.Rcode = s.lookup(name, question.Qtype)
	}
	return m, fault
}

// lookup finds records, and those that a CNAME leads to.
func (s *Server) lookup(name string, rrtype uint16) (answer []dns.RR, rcode int) {
	for range 10 {
		next, exists := "", false
		for _, rr := range s.records {
			h := rr.Header()
			exists = exists || dns.IsSubDomain(name, strings.ToLower(h.Name))
			if !strings.EqualFold(h.Name, name) {
				continue
			}
			if c, ok := rr.(*dns.CNAME); ok {
				next = strings.ToLower(c.Target)
			}
			if h.Rrtype == rrtype || h.Rrtype == dns.TypeCNAME {
				answer = append(answer, rr)
			}
		}
		switch {
		case !exists:
			return answer, dns.RcodeNameError
		case next == "" || rrtype == dns.TypeCNAME:
			return answer, dns.RcodeSuccess
		}
		name = next
	}
	return answer, dns.RcodeSuccess
}
