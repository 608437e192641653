/// The 82540EM's registers, named as in Intel's "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's
/// Manual" (317453), chapter 13, whose sections the comments give.
enum E1000Register {
  static let ctrl = 0x0000, status = 0x0008, eecd = 0x0010, eerd = 0x0014, ctrlExt = 0x0018, mdic = 0x0020
  static let fcal = 0x0028, fcah = 0x002C, fct = 0x0030, vet = 0x0038
  static let icr = 0x00C0, itr = 0x00C4, ics = 0x00C8, ims = 0x00D0, imc = 0x00D8
  static let rctl = 0x0100, fcttv = 0x0170, tctl = 0x0400, tipg = 0x0410, ait = 0x0458, ledctl = 0x0E00, pba = 0x1000
  static let fcrtl = 0x2160, fcrth = 0x2168
  static let rdbal = 0x2800, rdbah = 0x2804, rdlen = 0x2808, rdh = 0x2810, rdt = 0x2818
  static let rdtr = 0x2820, rxdctl = 0x2828, radv = 0x282C, rsrpd = 0x2C00
  static let txdmac = 0x3000
  static let tdbal = 0x3800, tdbah = 0x3804, tdlen = 0x3808, tdh = 0x3810, tdt = 0x3818
  static let tidv = 0x3820, txdctl = 0x3828, tadv = 0x382C, tspmt = 0x3830
  static let statistics = 0x4000..<0x4100
  static let rxcsum = 0x5000
  static let multicastTable = 0x5200..<0x5400, receiveAddresses = 0x5400..<0x5480, vlanTable = 0x5600..<0x5800
  static let wuc = 0x5800, wufc = 0x5808, wus = 0x5810, ipav = 0x5838, manc = 0x5820

  /// The registers at the places that the 82542 had them at (13.2, "alternate" addresses), and CTRL's second place.
  static func canonical(_ offset: Int) -> Int {
    switch offset {
    case 0x0004: ctrl
    case 0x0040..<0x00C0: receiveAddresses.lowerBound + offset - 0x40
    case 0x0108: rdtr
    case 0x0110...0x0128: rdbal + offset - 0x110
    case 0x0160: fcrth
    case 0x0168: fcrtl
    case 0x0200..<0x0400: multicastTable.lowerBound + offset - 0x200
    case 0x0420...0x0438: tdbal + offset - 0x420
    case 0x0440: tidv
    case 0x0600..<0x0800: vlanTable.lowerBound + offset - 0x600
    default: offset
    }
  }

  /// Registers that only keep what is written (with the bits that they have) and what a reset makes of them.
  static let plain: [(offset: Int, mask: UInt32, initial: UInt32)] = [
    (ctrlExt, 0xFFFF_FFFF, 0), (fcal, 0xFFFF_FFFF, 0), (fcah, 0xFFFF, 0), (fct, 0xFFFF, 0), (vet, 0xFFFF, 0x8100),
    (fcttv, 0xFFFF, 0), (tipg, 0x3FFF_FFFF, 0x0060_2008), (ait, 0xFFFF, 0), (ledctl, 0xCFCF_CFCF, 0x0706_8302),
    (pba, 0xFFFF_FFFF, 0x0010_0030), (fcrtl, 0x8000_FFF8, 0), (fcrth, 0xFFF8, 0), (rxdctl, 0xFFFF_FFFF, 0x0101_0000),
    (rsrpd, 0xFFF, 0), (txdmac, 0xFFFF_FFFF, 1), (txdctl, 0xFFFF_FFFF, 0), (tspmt, 0xFFFF_FFFF, 0x0100_0400),
    (rxcsum, 0x7FF, 0), (wuc, 0xFFFF_FFFF, 0), (wufc, 0xFFFF_FFFF, 0), (wus, 0xFFFF_FFFF, 0), (ipav, 0xFFFF_FFFF, 0),
    (manc, 0xFFFF_FFFF, 0),
  ]
  static let plainIndex: [Int: Int] = Dictionary(uniqueKeysWithValues: plain.enumerated().map { ($1.offset, $0) })

  static let vetIndex = plainIndex[vet] ?? 0
  static let rxcsumIndex = plainIndex[rxcsum] ?? 0
  static let rsrpdIndex = plainIndex[rsrpd] ?? 0
  static let txdctlIndex = plainIndex[txdctl] ?? 0
}

/// Device control (13.4.1).
struct E1000Control: OptionSet, Codable, Equatable {
  let rawValue: UInt32
  static let fullDuplex = E1000Control(rawValue: 1 << 0)
  /// The MAC asks the PHY for a link.
  static let setLinkUp = E1000Control(rawValue: 1 << 6)
  /// CTRL's duplex bit holds, whatever the PHY has negotiated.
  static let forceDuplex = E1000Control(rawValue: 1 << 12)
  static let reset = E1000Control(rawValue: 1 << 26)
  /// VLAN tags are taken out of received frames and put into those that ask for it.
  static let vlanMode = E1000Control(rawValue: 1 << 30)
  static let phyReset = E1000Control(rawValue: 1 << 31)
  /// Full duplex, link up, 1000 Mbit/s, and the software-definable pins as the EEPROM has them.
  static let initial = E1000Control(rawValue: 0x0014_0241)
}

/// Interrupt causes: ICR, ICS, IMS and IMC (13.4.17 to 13.4.21).
struct E1000Interrupt: OptionSet, Codable, Equatable {
  let rawValue: UInt32
  static let transmitted = E1000Interrupt(rawValue: 1 << 0)  // TXDW
  static let transmitQueueEmpty = E1000Interrupt(rawValue: 1 << 1)  // TXQE
  static let linkStatus = E1000Interrupt(rawValue: 1 << 2)  // LSC
  static let receiveDescriptorsLow = E1000Interrupt(rawValue: 1 << 4)  // RXDMT0
  static let receiverOverrun = E1000Interrupt(rawValue: 1 << 6)  // RXO
  static let received = E1000Interrupt(rawValue: 1 << 7)  // RXT0
  static let mdioComplete = E1000Interrupt(rawValue: 1 << 9)  // MDAC
  static let transmitDescriptorsLow = E1000Interrupt(rawValue: 1 << 15)  // TXD_LOW
  static let smallPacket = E1000Interrupt(rawValue: 1 << 16)  // SRPD
  /// The causes that there are.
  static let all = E1000Interrupt(rawValue: 0x1_FFFF)
}

/// Receive control (13.4.22).
struct E1000ReceiveControl: OptionSet, Codable, Equatable {
  let rawValue: UInt32
  static let enable = E1000ReceiveControl(rawValue: 1 << 1)
  static let unicastPromiscuous = E1000ReceiveControl(rawValue: 1 << 3)
  static let multicastPromiscuous = E1000ReceiveControl(rawValue: 1 << 4)
  static let longPackets = E1000ReceiveControl(rawValue: 1 << 5)
  static let acceptBroadcast = E1000ReceiveControl(rawValue: 1 << 15)
  static let vlanFilter = E1000ReceiveControl(rawValue: 1 << 18)
  static let canonicalFormFilter = E1000ReceiveControl(rawValue: 1 << 19)
  static let canonicalFormValue = E1000ReceiveControl(rawValue: 1 << 20)
  static let discardPause = E1000ReceiveControl(rawValue: 1 << 22)
  static let passControl = E1000ReceiveControl(rawValue: 1 << 23)
  static let sizeExtension = E1000ReceiveControl(rawValue: 1 << 25)
  static let stripCRC = E1000ReceiveControl(rawValue: 1 << 26)

  /// Bytes of each receive buffer.
  var bufferSize: Int {
    let code = Int(rawValue >> 16 & 3)
    return contains(.sizeExtension) ? [2048, 16384, 8192, 4096][code] : [2048, 1024, 512, 256][code]
  }
  /// Loopback in the MAC.
  var isLoopback: Bool { rawValue >> 6 & 3 == 1 }
  /// A half, a quarter, an eighth of the ring: so few free descriptors raise RXDMT0.
  var thresholdShift: Int { Int(rawValue >> 8 & 3) + 1 }
  /// Which twelve bits of an address index the multicast table.
  var multicastOffset: Int { Int(rawValue >> 12 & 3) }
}

/// Transmit control (13.4.33).
struct E1000TransmitControl: OptionSet, Codable, Equatable {
  let rawValue: UInt32
  static let enable = E1000TransmitControl(rawValue: 1 << 1)
  static let padShort = E1000TransmitControl(rawValue: 1 << 3)
}

/// The statistics registers (13.7), by their place from 0x4000 on in words. All clear when read and stay at their top.
enum E1000Statistic {
  static let missed = 0x10 / 4
  static let received64 = 0x5C / 4  // PRC64, then by size up to PRC1522
  static let goodReceived = 0x74 / 4, broadcastReceived = 0x78 / 4, multicastReceived = 0x7C / 4
  static let goodTransmitted = 0x80 / 4
  static let goodOctetsReceived = 0x88 / 4, goodOctetsTransmitted = 0x90 / 4  // low, then high
  static let noBuffers = 0xA0 / 4, undersize = 0xA4 / 4, oversize = 0xAC / 4
  static let octetsReceived = 0xC0 / 4, octetsTransmitted = 0xC8 / 4  // low, then high
  static let totalReceived = 0xD0 / 4, totalTransmitted = 0xD4 / 4
  static let transmitted64 = 0xD8 / 4  // PTC64, then by size up to PTC1522
  static let multicastTransmitted = 0xF0 / 4, broadcastTransmitted = 0xF4 / 4
  static let segmentedContexts = 0xF8 / 4

  /// Words that are the low half of a 64-bit counter; reading the high half clears both.
  static let lowHalves: Set<Int> = [goodOctetsReceived, goodOctetsTransmitted, octetsReceived, octetsTransmitted]

  /// From a size's first counter: which one counts a frame of `length` bytes with its CRC.
  static func sizeClass(_ length: Int) -> Int {
    switch length {
    case ...64: 0
    case ...127: 1
    case ...255: 2
    case ...511: 3
    case ...1023: 4
    default: 5
    }
  }
}
