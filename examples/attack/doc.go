// Package attack has no code of its own: its tests attack a whole server, from
// the socket to the queue's delivery agent, with what strangers may send. They
// are an example of how to test one's own wiring, too.
package attack
