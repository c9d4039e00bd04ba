"""PC/SC calls of several programs at one reader, through libpcsclite, and what each gives.

The same calls are made at the emulator's socket and at a pcscd; what is printed must be the same. The PIN is the
factory's. Only the reader's name differs, so it is left out. What another's transaction forbids, libpcsclite asks
again and again by itself; here that is the wait of a thread.
"""

import threading

from smartcard.scard import *  # noqa: F403  the interface as C knows it

SELECT = [0x00, 0xA4, 0x04, 0x00, 0x05, 0xA0, 0x00, 0x00, 0x03, 0x08]
VERIFY = [0x00, 0x20, 0x00, 0x80, 0x08, *b"123456", 0xFF, 0xFF]
ASK_PIN = [0x00, 0x20, 0x00, 0x80]
ANY = SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1


def code(number):
    return "%08x" % (number & 0xFFFFFFFF)


def say(what, *results):
    print(what + ":", *results, flush=True)


class Program:
    """One context, as one program has it."""

    def __init__(self):
        result, self.context = SCardEstablishContext(SCARD_SCOPE_SYSTEM)
        assert result == SCARD_S_SUCCESS, code(result)

    def connect(self, share=SCARD_SHARE_SHARED, protocols=ANY, name=None):
        result, self.card, protocol = SCardConnect(self.context, name or READER, share, protocols)
        return code(result), protocol if result == SCARD_S_SUCCESS else "-"

    def apdu(self, command, protocol=SCARD_PCI_T1):
        result, answer = SCardTransmit(self.card, protocol, command)
        return bytes(answer).hex() if result == SCARD_S_SUCCESS else code(result)

    def begin(self):
        return code(SCardBeginTransaction(self.card))

    def end(self, disposition=SCARD_LEAVE_CARD):
        return code(SCardEndTransaction(self.card, disposition))

    def reconnect(self, share=SCARD_SHARE_SHARED, init=SCARD_LEAVE_CARD):
        result, protocol = SCardReconnect(self.card, share, ANY, init)
        return code(result), protocol if result == SCARD_S_SUCCESS else "-"

    def disconnect(self, disposition=SCARD_LEAVE_CARD):
        return code(SCardDisconnect(self.card, disposition))

    def status(self):
        result, name, state, protocol, atr = SCardStatus(self.card)
        return (code(result), "%x" % (state & 0xFFFF), protocol, bytes(atr).hex()) if result == SCARD_S_SUCCESS else code(result)

    def attribute(self, attribute):
        result, value = SCardGetAttrib(self.card, attribute)
        return code(result), bytes(value)

    def control(self, number):
        result, _ = SCardControl(self.card, number, [])
        return code(result)

    def release(self):
        return code(SCardReleaseContext(self.context))


def the_reader():
    program = Program()
    result, names = SCardListReaders(program.context, [])
    assert result == SCARD_S_SUCCESS, code(result)
    with_card = []
    for name in names:
        result, states = SCardGetStatusChange(program.context, 0, [(name, SCARD_STATE_UNAWARE)])
        assert result == SCARD_S_SUCCESS, code(result)
        if states[0][1] & SCARD_STATE_PRESENT:
            with_card.append((name, states[0][1] & 0xFFFF, bytes(states[0][2]).hex()))
    (name, state, atr), = with_card
    say("reader", "%x" % state, atr)
    program.release()
    return name


READER = the_reader()
a, b = Program(), Program()

say("a reader that is not there", *a.connect(name="No such reader"))
say("connect", *a.connect())
say("status", a.status())
say("a second shares it", *b.connect())
say("exclusive beside others", *Program().connect(SCARD_SHARE_EXCLUSIVE))
say("only T=0", *Program().connect(protocols=SCARD_PROTOCOL_T0))
say("select", a.apdu(SELECT))
say("select as T=0", a.apdu(SELECT, SCARD_PCI_T0))
say("the other's selection is the same", b.apdu(ASK_PIN))
say("verify", a.apdu(VERIFY), b.apdu(ASK_PIN))

say("a transaction", a.begin(), "and one in it", a.begin())
say("one ends", a.end())
say("both end", a.end(), b.apdu(ASK_PIN))
say("none is open", a.end())

order = []
say("again", a.begin())


def wait_for_it():
    order.append("an answer " + b.apdu(ASK_PIN))
    order.append("a transaction " + b.begin())


waiting = threading.Thread(target=wait_for_it)
waiting.start()
order.append("nothing yet, " + a.apdu(ASK_PIN))
say("the other waits", a.end())
waiting.join(20)
say("and gets it", *order, b.end())

say("leave keeps the PIN", b.disconnect(), *b.connect(), b.apdu(ASK_PIN))
say("reset takes it", b.disconnect(SCARD_RESET_CARD), *b.connect(), b.apdu(ASK_PIN))
say("the other hears of it", a.apdu(SELECT), a.begin(), a.status())
say("until it reconnects", *a.reconnect(), a.apdu(SELECT), a.apdu(VERIFY))
say("a reset at the end of a transaction", a.begin(), a.end(SCARD_RESET_CARD))
say("both hear of it", a.apdu(SELECT), b.apdu(SELECT))
say("reconnecting with a reset", *a.reconnect(init=SCARD_RESET_CARD))
say("one's own reset by reconnecting", a.apdu(SELECT), b.apdu(SELECT))
say("reconnecting without power between", *b.reconnect(init=SCARD_UNPOWER_CARD), b.apdu(SELECT), b.apdu(VERIFY))
say("eject leaves the card", b.disconnect(SCARD_EJECT_CARD), *b.connect(), b.apdu(ASK_PIN))
say("unpower takes the PIN", b.disconnect(SCARD_UNPOWER_CARD), *b.connect(), b.apdu(ASK_PIN))
say("a disposition there is not", b.disconnect(7), b.disconnect())
say("a handle that is closed", b.apdu(SELECT), b.disconnect())

a.reconnect()
say("an attribute there is not", a.attribute(0x00010199)[0])
say("feature request", a.control(SCARD_CTL_CODE(3499)))

say("alone", a.disconnect(), *a.connect(SCARD_SHARE_EXCLUSIVE))
say("nobody else comes in", *b.connect(), *b.connect(SCARD_SHARE_EXCLUSIVE), *b.connect(SCARD_SHARE_DIRECT, 0))
say("a transaction of its own", a.begin(), a.end(), a.end())
say("sharing after all", a.disconnect(), *a.connect(), *b.connect())
say("a context takes its connections along", b.release(), *a.reconnect(SCARD_SHARE_EXCLUSIVE), a.disconnect())

c = Program()
result, states = SCardGetStatusChange(c.context, 0, [(READER, SCARD_STATE_UNAWARE)])
now = states[0][1]
say("a wait that is over", code(SCardGetStatusChange(c.context, 10, [(READER, now)])[0]))
cancelled = []
waiting = threading.Thread(
    target=lambda: cancelled.append(code(SCardGetStatusChange(c.context, 20000, [(READER, now)])[0]))
)
waiting.start()
while waiting.is_alive():  # it may not wait yet
    SCardCancel(c.context)
    waiting.join(0.02)
say("a wait that is cancelled", *cancelled)
say("the end", c.release(), a.release())
