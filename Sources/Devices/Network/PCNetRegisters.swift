/// Bits of the registers of the Am79C973, as far as something is done with them.
///
/// Source: AMD, "Am79C973/Am79C975 PCnet-FAST III" data sheet (21510), "User Accessible Registers".
enum PCNetRegister {
  /// CSR0: controller status.
  struct Status: OptionSet {
    let rawValue: UInt16
    static let initialize = Status(rawValue: 1 << 0)
    static let start = Status(rawValue: 1 << 1)
    static let stop = Status(rawValue: 1 << 2)
    static let transmitDemand = Status(rawValue: 1 << 3)
    static let transmitterOn = Status(rawValue: 1 << 4)
    static let receiverOn = Status(rawValue: 1 << 5)
    static let interruptEnable = Status(rawValue: 1 << 6)
    static let interrupt = Status(rawValue: 1 << 7)
    static let initializationDone = Status(rawValue: 1 << 8)
    static let transmitted = Status(rawValue: 1 << 9)
    static let received = Status(rawValue: 1 << 10)
    static let memoryError = Status(rawValue: 1 << 11)
    static let missed = Status(rawValue: 1 << 12)
    static let collisionError = Status(rawValue: 1 << 13)
    static let babble = Status(rawValue: 1 << 14)
    static let error = Status(rawValue: 1 << 15)
    /// Cleared by ones; those that interrupt unless CSR3 masks them.
    static let clearable: Status = [
      initializationDone, transmitted, received, memoryError, missed, collisionError, babble,
    ]
    static let interrupting = clearable.subtracting(collisionError)
    static let errors: Status = [memoryError, missed, collisionError, babble]
  }

  /// CSR4: features and their interrupts. Each of these bits is followed by its mask.
  enum Features {
    static let noTransmitPolling: UInt16 = 1 << 12
    static let padTransmitted: UInt16 = 1 << 11
    static let userCommand: UInt16 = 1 << 7
    static let userInterrupt: UInt16 = 1 << 6
    static let transmitStart: UInt16 = 1 << 3
    /// Missed frame counter, user, receive collision counter, transmit start, jabber; cleared by ones.
    static let events: UInt16 = 1 << 9 | userInterrupt | 1 << 5 | transmitStart | 1 << 1
    static let initial: UInt16 = 0x0115
  }

  /// CSR5: more of both.
  enum Extended {
    static let noTransmitInterrupt: UInt16 = 1 << 15
    static let lastTransmitInterrupt: UInt16 = 1 << 14
    /// System, sleep, excessive deferral and magic packet interrupts; cleared by ones. Each has its enabling bit below it.
    static let events: UInt16 = 1 << 11 | 1 << 9 | 1 << 7 | 1 << 4
    static let suspend: UInt16 = 1 << 0
  }

  /// CSR15: mode.
  enum Mode {
    static let promiscuous: UInt16 = 1 << 15
    static let noBroadcast: UInt16 = 1 << 14
    static let noPhysical: UInt16 = 1 << 13
    static let noTransmitFCS: UInt16 = 1 << 3
    static let loopback: UInt16 = 1 << 2
    static let transmitterOff: UInt16 = 1 << 1
    static let receiverOff: UInt16 = 1 << 0
  }

  /// Of a descriptor's status word; bits 24 to 31 in the 32-bit styles.
  enum Descriptor {
    static let own: UInt32 = 1 << 31
    static let error: UInt32 = 1 << 30
    /// Of a transmit descriptor.
    static let addFCS: UInt32 = 1 << 29
    static let interruptWanted: UInt32 = 1 << 28
    static let start: UInt32 = 1 << 25
    static let end: UInt32 = 1 << 24
    /// Of a receive descriptor: how the address matched.
    static let physicalMatch: UInt32 = 1 << 22
    static let logicalMatch: UInt32 = 1 << 21
    static let broadcastMatch: UInt32 = 1 << 20
  }
}

/// A descriptor, in whichever of the four forms software has chosen (BCR20, software style).
struct PCNetDescriptor {
  var address: UInt32
  /// The status in bits 16 to 31 and the buffer's length, as a negative number, in bits 0 to 11.
  var status: UInt32

  /// Bytes of the buffer.
  var length: Int { Int(0x1000 - (status & 0xFFF)) }
  func has(_ bits: UInt32) -> Bool { status & bits == bits }
}
