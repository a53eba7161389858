package ec2source

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sync"
)

// spool keeps documents outside of memory while they are read. They hold user data and with it secrets, so what reaches
// the disk is sealed with a key that only this process has, in a file without a name.
type spool struct {
	mu   sync.Mutex
	f    *os.File
	aead cipher.AEAD
	end  int64
	n    uint64
}

// spooled is where one document lies.
type spooled struct {
	off, size int64
	n         uint64 // its nonce
}

func newSpool(dir string) (*spool, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, "holdfast-ec2-*")
	if err != nil {
		return nil, fmt.Errorf("a file for what is read: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("a file for what is read: %w", err)
	}
	return &spool{f: f, aead: aead}, nil
}

func (s *spool) nonce(n uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 4), n)
}

// put stores b.
func (s *spool) put(b []byte) (spooled, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := spooled{off: s.end, size: int64(len(b)), n: s.n}
	sealed := s.aead.Seal(nil, s.nonce(at.n), b, nil)
	if _, err := s.f.WriteAt(sealed, s.end); err != nil {
		return at, fmt.Errorf("keep what was read: %w", err)
	}
	s.n++
	s.end += int64(len(sealed))
	return at, nil
}

// get gives back what put stored.
func (s *spool) get(at spooled) ([]byte, error) {
	sealed := make([]byte, at.size+int64(s.aead.Overhead()))
	if _, err := s.f.ReadAt(sealed, at.off); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read again what was kept: %w", err)
	}
	b, err := s.aead.Open(sealed[:0], s.nonce(at.n), sealed, nil)
	if err != nil {
		return nil, fmt.Errorf("read again what was kept: %w", err)
	}
	return b, nil
}

func (s *spool) close() error { return s.f.Close() }
