package repo

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Prepared is a change of keys that is signed and not stored yet. An owner makes it on the machine with the restore key, and the
// job's machine stores it. It is nothing that a reader of a vault ever sees.
type Prepared struct {
	Fingerprint format.Hash        // of the repository it is for
	Descriptor  *format.Descriptor // what holds from then on
	Sum         format.Hash        // of the descriptor
	HostKey     *keys.HostKey      // that holds from then on, where it is another; else nil

	pieces []piece // in the order in which they are stored, the descriptor last
}

// ErrPrepared: a file that is no change of keys, or not whole.
var ErrPrepared = errors.New("not a change of keys that `holdfast key .. --out FILE` made, or not whole")

// MaxPrepared bounds the text form.
const MaxPrepared = 64 << 20

const (
	preparedKind    = "holdfast-key-change"
	preparedVersion = 1
)

// preparedText is the text form: one JSON object.
type preparedText struct {
	Kind        string           `json:"kind"`
	Version     int              `json:"version"`
	Fingerprint format.Hash      `json:"fingerprint"`
	Objects     []preparedObject `json:"objects"`
	HostKey     string           `json:"host_key,omitempty"` // a secret
}

type preparedObject struct {
	Name string `json:"name"`
	Body []byte `json:"body"`
}

// Marshal gives the text form. It holds the new host key where there is one, and then is a secret like that.
func (p *Prepared) Marshal() ([]byte, error) {
	t := preparedText{Kind: preparedKind, Version: preparedVersion, Fingerprint: p.Fingerprint}
	for _, o := range p.pieces {
		t.Objects = append(t.Objects, preparedObject{o.name, o.body})
	}
	if p.HostKey != nil {
		text, err := p.HostKey.MarshalText()
		if err != nil {
			return nil, err
		}
		t.HostKey = string(text)
	}
	b, err := json.Marshal(t)
	return append(b, '\n'), err
}

// ParsePrepared reads the text form. That it is signed as the repository asks for is seen only when it is stored.
func ParsePrepared(b []byte) (*Prepared, error) {
	if len(b) > MaxPrepared {
		return nil, fmt.Errorf("%d bytes: %w", len(b), ErrPrepared)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var t preparedText
	if err := dec.Decode(&t); err != nil || t.Kind != preparedKind { // the decoder's own error could quote the host key
		return nil, ErrPrepared
	}
	if t.Version != preparedVersion {
		return nil, fmt.Errorf("%w: version %d, use a newer holdfast", ErrPrepared, t.Version)
	}
	p := &Prepared{Fingerprint: t.Fingerprint}
	for i, o := range t.Objects {
		sum, err := format.ParseName(o.Name)
		if err != nil || sum != sha256.Sum256(o.Body) {
			return nil, fmt.Errorf("object %d: %w", i+1, ErrPrepared)
		}
		p.pieces = append(p.pieces, piece{o.Name, o.Body})
		last := i == len(t.Objects)-1
		if last != strings.HasPrefix(o.Name, format.PrefixDescriptors) {
			return nil, fmt.Errorf("object %d is not where it belongs: %w", i+1, ErrPrepared)
		}
		if last {
			d, _, _, err := format.DecodeDescriptor(o.Body)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrPrepared, err)
			}
			p.Descriptor, p.Sum = d, sum
		}
	}
	if p.Descriptor == nil {
		return nil, ErrPrepared
	}
	return p, p.takeHostKey(t.HostKey)
}

func (p *Prepared) takeHostKey(text string) error {
	if text == "" {
		return nil
	}
	h, err := keys.ParseHostKey([]byte(text))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPrepared, err)
	}
	if !p.Descriptor.Lists(format.UseJob, h.Public()) {
		return fmt.Errorf("%w: its host key is not the one that its descriptor lists", ErrPrepared)
	}
	p.HostKey = h
	return nil
}
