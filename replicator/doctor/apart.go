package doctor

import (
	"context"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/attack"
	"github.com/holdfast-backup/holdfast/store/probe"
	"github.com/holdfast-backup/holdfast/store/vendor"
)

// apart checks that a source and its vaults have nothing in common that one thief could take.
func (d *doctor) apart(ctx context.Context, s *Source) {
	immutable := false
	for i := range d.Vaults {
		v := &d.Vaults[i]
		if !slices.Contains(s.Vaults, v.Name) {
			continue
		}
		immutable = immutable || !v.Directory
		if s.Key == nil || v.Key == nil {
			continue
		}
		subject := "source " + s.Name + " and vault " + v.Name
		from, err := s.Key(ctx)
		if err != nil {
			d.add(subject, "same-key", probe.NotTested, "", "the source's credentials could not be read")
			continue
		}
		to, err := v.Key(ctx)
		if err != nil {
			d.add(subject, "same-key", probe.NotTested, "", "the vault's credentials could not be read")
			continue
		}
		if from.AccessKeyID == to.AccessKeyID {
			d.add(subject, "same-key", probe.Critical, "make a key of its own for the vault, at the other vendor", "one access key for both: whoever steals it has the original and the copy")
			continue
		}
		d.add(subject, "same-key", probe.OK, "", "each has an access key of its own")
		d.sameAccount(ctx, subject, s, v, from, to)
		d.reaches(ctx, subject, s, v)
	}
	if !immutable && len(s.Vaults) > 0 {
		d.add("source "+s.Name, "immutable-copy", probe.Critical, "add a vault with object lock at another vendor", "no vault that keeps locks holds a copy of it")
	}
}

// sameAccount: one account, or one server, behind both.
func (d *doctor) sameAccount(ctx context.Context, subject string, s *Source, v *Vault, from, to store.Credentials) {
	const mend = "keep the copy at another vendor, with another invoice and other administrators"
	if s.Host != v.Host {
		d.add(subject, "same-account", probe.OK, "", "each is at an endpoint of its own")
		return
	}
	if s.Host != "" {
		d.add(subject, "same-account", probe.Warning, mend, "one endpoint behind both: whoever owns "+s.Host+" owns the original and the copy")
		return
	}
	a, b := awsAccount(from.AccessKeyID), awsAccount(to.AccessKeyID)
	switch {
	case a != "" && a == b, d.sameOwner(ctx, s, v):
		d.add(subject, "same-account", probe.Critical, mend, "one AWS account behind both: whoever owns it owns the original and the copy")
	case a != "" && b != "":
		d.add(subject, "same-account", probe.Warning, mend, fmt.Sprintf("both are at AWS, in the accounts %s and %s: make sure that they have neither organisation nor invoice in common", a, b))
	default:
		d.add(subject, "same-account", probe.Warning, mend, "both are at AWS; whether in one account is not known")
	}
}

// sameOwner reports whether both buckets have one owner. What cannot be listed has none.
func (d *doctor) sameOwner(ctx context.Context, s *Source, v *Vault) bool {
	if s.Bucket == nil || v.Bucket == nil {
		return false
	}
	owner := func(in Bucket, as store.CredentialsFunc) string {
		a, err := in(as)
		if err != nil {
			return ""
		}
		return a.List(ctx).Owner
	}
	one := owner(s.Bucket, s.Key)
	return one != "" && one == owner(v.Bucket, v.Key)
}

// awsAccount is the account that an access key belongs to, which stands in its ID; empty if none can be read from it.
func awsAccount(id string) string {
	if len(id) != 20 || !strings.HasPrefix(id, "AKIA") && !strings.HasPrefix(id, "ASIA") {
		return ""
	}
	raw, err := base32.StdEncoding.DecodeString(id[4:])
	if err != nil || len(raw) < 6 {
		return ""
	}
	n := binary.BigEndian.Uint64(append([]byte{0, 0}, raw[:6]...))
	return fmt.Sprintf("%012d", n&0x7fffffffff80>>7)
}

// reaches asks each place with the other's credential.
func (d *doctor) reaches(ctx context.Context, subject string, s *Source, v *Vault) {
	if v.Bucket != nil {
		d.reach(ctx, subject, "source-reaches-vault", "the source's credential reaches the vault", probe.Critical, v.Host, v.Bucket, s.Key)
	}
	if s.Bucket != nil {
		d.reach(ctx, subject, "vault-reaches-source", "the vault's credential reaches the source", probe.Warning, s.Host, s.Bucket, v.Key)
	}
}

func (d *doctor) reach(ctx context.Context, subject, check, what string, worse probe.Severity, host string, place Bucket, as store.CredentialsFunc) {
	a, err := place(as)
	if err != nil {
		d.add(subject, check, probe.NotTested, "", err.Error())
		return
	}
	answers := []attack.Answer{a.List(ctx), a.Look(ctx), a.Finish(ctx)}
	const writing = 2 // which of them asks that
	v, err := vendor.Detect(hostOf(host), vendor.Answered{Server: answers[1].Server, RequestID: answers[1].RequestID})
	if err != nil {
		d.add(subject, check, probe.NotTested, "", err.Error())
		return
	}
	denied := true
	for i, ans := range answers {
		// A 404 is no refusal for lack of a right: whoever may not read hears 403.
		if ans.Done() || ans.Status == 404 && i > 0 || i == writing && v.MayPut(ans.Status, ans.Code) {
			d.add(subject, check, worse, "take that right away: each credential is to reach its own place and nothing else",
				what+": "+[]string{"it can list it", "it can read it", "it can write to it"}[i]+" ("+ans.Outcome()+")", answers...)
			return
		}
		denied = denied && ans.Refused()
	}
	if !denied {
		d.add(subject, check, probe.NotTested, "", "no clear answer", answers...)
		return
	}
	d.add(subject, check, probe.OK, "", "not so: "+answers[0].Outcome(), answers...)
}
