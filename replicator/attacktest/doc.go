// Package attacktest attacks a vault and a primary on real servers, with the keys that thieves have, and proves that every
// recovery point from before comes back byte for byte. It holds tests only. The rows of its attacks are the table in
// docs/threat-model.md, which a test holds against them. Nothing may import it.
package attacktest
