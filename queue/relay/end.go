package relay

import (
	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// send writes the message and the final dot.
func (t *transaction) send() bool {
	s := t.session
	s.patience = s.times.DataXfer
	data := &dataWriter{w: s.out}
	n, err := t.d.Message.WriteTo(data)
	if s.writeErr == nil && (err != nil || n != t.d.Message.Size()) {
		// Half a message must not look like a whole one: no dot, and no other
		// host will do better.
		t.agent.log().Error("message cannot be read", "id", t.d.ID, "read", n, "size", t.d.Message.Size(), "error", err)
		t.finish(t.accepted, mtakit.Result{Status: smtp.EnhancedCode{4, 3, 0}, Diagnostic: "message cannot be read from the queue"})
		return false
	}
	if err == nil {
		err = data.Close()
	}
	if err == nil {
		err = s.out.Flush()
	}
	if err != nil {
		return t.lost(command{name: "message body"}, err)
	}
	return true
}

// end waits for what the server says of the message. Nobody is tried elsewhere
// when it says nothing: it may have taken the message.
func (t *transaction) end() bool {
	if t.agent.LMTP {
		for k, i := range t.accepted {
			if !t.final([]int{i}, t.accepted[k:]) {
				return false
			}
		}
		return true
	}
	return t.final(t.accepted, t.accepted)
}

// final reads one reply to the end of data, for these recipients; rest are those
// that are lost with the connection.
func (t *transaction) final(index, rest []int) bool {
	s := t.session
	reply, err := s.readEnd()
	if err != nil {
		fault := s.lost("sending end of data -- message may be sent more than once", err)
		fault.site, fault.remote = false, s.host.remote
		t.finish(rest, fault.result())
		return false
	}
	switch reply.Code / 100 {
	case 2:
		t.taken = true
		t.finish(index, mtakit.Result{Outcome: mtakit.Relayed, Status: status(reply), Remote: s.host.remote, Reply: reply,
			DSN: s.offers.dsn})
		return true
	case 4, 5:
		if reply.Code == 421 {
			index = rest
		}
		t.settle(index, nameEND, reply)
		return reply.Code != 421
	}
	t.finish(rest, s.said(nameEND, reply).result())
	return false
}
