// Package acl reads POSIX access control lists as Linux keeps them in extended attributes
// (system.posix_acl_access and system.posix_acl_default): version 2, little-endian, entries of tag, permissions and ID.
// It must never be asked to decide who may read something; it only says what a list holds.
package acl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Names of the attributes.
const (
	Access  = "system.posix_acl_access"
	Default = "system.posix_acl_default"
)

// Tags of linux/posix_acl.h.
const (
	userOwner  = 0x01
	user       = 0x02
	groupOwner = 0x04
	group      = 0x08
	mask       = 0x10
	other      = 0x20
)

const version = 2

// Entry gives somebody permissions: read 4, write 2, execute 1.
type Entry struct {
	Tag  uint16
	Perm uint16
	ID   uint32 // of named users and groups
}

// List is a whole ACL.
type List []Entry

// errMalformed: the attribute holds no list of the version that Linux has.
var errMalformed = errors.New("not a POSIX ACL of version 2")

// Parse reads an attribute.
func Parse(b []byte) (List, error) {
	if len(b) < 4 || binary.LittleEndian.Uint32(b) != version || (len(b)-4)%8 != 0 {
		return nil, errMalformed
	}
	var l List
	for b = b[4:]; len(b) > 0; b = b[8:] {
		l = append(l, Entry{binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:]) & 7, binary.LittleEndian.Uint32(b[4:])})
	}
	return l, nil
}

// Named makes an attribute that gives one user more than mode does: what it takes to find out whether a file system keeps lists.
func Named(mode uint32, id uint32, perm uint16) []byte {
	const nobody = 0xffffffff
	b := binary.LittleEndian.AppendUint32(nil, version)
	for _, e := range (List{
		{userOwner, uint16(mode >> 6 & 7), nobody}, {user, perm, id}, {groupOwner, uint16(mode >> 3 & 7), nobody},
		{mask, perm | uint16(mode>>3&7), nobody}, {other, uint16(mode & 7), nobody},
	}) {
		b = binary.LittleEndian.AppendUint16(b, e.Tag)
		b = binary.LittleEndian.AppendUint16(b, e.Perm)
		b = binary.LittleEndian.AppendUint32(b, e.ID)
	}
	return b
}

// WithoutList gives the mode that grants nobody more than a file's mode and access list together do, where the list itself
// cannot be kept. The group bits of a file with a list are its mask, not what the owning group may do.
func WithoutList(mode uint32, attribute []byte) uint32 {
	l, err := Parse(attribute)
	if err != nil {
		return mode &^ 0o070
	}
	granted, limit := uint16(0), uint16(7)
	for _, e := range l {
		switch e.Tag {
		case groupOwner:
			granted = e.Perm
		case mask:
			limit = e.Perm
		}
	}
	return mode&^0o070 | uint32(granted&limit)<<3&mode
}

// String is the list as setfacl and tar programs write it: "user::rw-,user:1000:r--,group::r--,mask::r--,other::---".
func (l List) String() string {
	names := map[uint16]string{userOwner: "user:", user: "user:", groupOwner: "group:", group: "group:", mask: "mask:", other: "other:"}
	out := make([]string, 0, len(l))
	for _, e := range l {
		id := ""
		if e.Tag == user || e.Tag == group {
			id = fmt.Sprint(e.ID)
		}
		out = append(out, names[e.Tag]+id+":"+rwx(e.Perm))
	}
	return strings.Join(out, ",")
}

func rwx(p uint16) string {
	b := []byte("---")
	for i, c := range []byte("rwx") {
		if p&(4>>i) != 0 {
			b[i] = c
		}
	}
	return string(b)
}
