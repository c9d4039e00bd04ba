//! The face that `keyward-age` asks of a token, given to a key of a real one.
//!
//! Below is a PIV applet whose card has proved itself and whose PIN was verified; above is the age header. The
//! person is told to touch at the last moment before the card waits for it.

use keyward_age::{MlKemSeed, SharedSecret, TokenError, TokenKey};
use keyward_token::{ObjectId, Pin, Piv, Point, Slot, Unlocked};

use crate::ui::Ui;
use crate::unlock::Purpose;

/// One of the two ECDH keys of an unlocked token.
pub struct TokenSlot<'a, 'c> {
    pub piv: &'a mut Piv<'c, Unlocked>,
    /// The PIN that was just verified, for cards that want it again to read the seeds.
    pub pin: &'a Pin,
    /// Where that key is.
    pub slot: Slot,
    /// Archives or shares: which of the two seeds belongs to it.
    pub purpose: Purpose,
    /// The public key in that slot.
    pub point: Point,
    /// Where the ML-KEM seeds may be, the likeliest first; empty for a classic token.
    pub seed_objects: &'a [ObjectId],
    pub ui: Ui,
    /// What the person reads before the touch; nothing for a key that asks for none.
    pub touch: Option<&'a str>,
}

impl TokenKey for TokenSlot<'_, '_> {
    fn point(&self) -> [u8; 65] {
        self.point
    }

    fn ecdh(&mut self, peer: &[u8; 65]) -> Result<SharedSecret, TokenError> {
        if let Some(touch) = self.touch {
            self.ui.must(touch);
        }
        let secret = self.piv.ecdh(self.slot, peer)?;
        Ok(SharedSecret::init_with(|bytes| bytes.copy_from_slice(secret.expose())))
    }

    fn seed(&mut self) -> Result<MlKemSeed, TokenError> {
        let mut failure = None;
        for object in self.seed_objects {
            match self.piv.seeds(*object, self.pin) {
                Ok(seeds) => {
                    let seed = match self.purpose {
                        Purpose::Archive => seeds.archive(),
                        Purpose::Share => seeds.custody(),
                    };
                    return Ok(MlKemSeed::init_with(|bytes| bytes.copy_from_slice(seed.expose())));
                }
                Err(error @ keyward_token::Error::Seed { .. }) => failure = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        Err(failure.map_or_else(|| "this token has no ML-KEM seeds".into(), TokenError::from))
    }
}
