import GuestMemory

/// A packet on its way out of the guest's ring, and the offload contexts that software has set (Intel's manual, 3.3, 3.5).
struct E1000Transmission: Codable, Equatable, Sendable {
  /// Longest frame without segmentation; the controller's own buffer holds no more.
  static let frameLimit = 16_384

  /// Set by context descriptors (3.3.6): where checksums lie, and how a large packet is cut.
  struct Context: Codable, Equatable, Sendable {
    /// IPCSS, IPCSO, IPCSE and TUCSS, TUCSO, TUCSE: start, place and last byte of each checksum.
    var ipStart = 0, ipOffset = 0, ipEnd = 0
    var transportStart = 0, transportOffset = 0, transportEnd = 0
    var isTCP = false
    var isIPv4 = false
    var headerLength = 0
    var segmentSize = 0

    var isPlausible: Bool {
      let bytes = [ipStart, ipOffset, transportStart, transportOffset, headerLength]
      let words = [ipEnd, transportEnd, segmentSize]
      return bytes.allSatisfy { (0...0xFF).contains($0) } && words.allSatisfy { (0...0xFFFF).contains($0) }
    }
  }

  /// For checksums alone, and for segmentation: the controller keeps one of each.
  var checksums = Context()
  var segmentation = Context()

  /// A descriptor has begun a packet whose end has not been seen.
  var isOpen = false
  var isSegmented = false
  var insertsIPChecksum = false
  var insertsTransportChecksum = false
  var tag: UInt16?
  /// Of a segmented packet.
  var header: [UInt8] = []
  /// Of the frame that is being gathered, without `header`.
  var bytes: [UInt8] = []
  /// It has grown beyond what the controller holds: what comes is dropped with it.
  var isTooLong = false
  /// Segments sent of this packet, and their payload in bytes.
  var segments: UInt32 = 0
  var sent: UInt32 = 0
  /// Bytes taken of the descriptor at the head.
  var taken = 0

  mutating func forgetPacket() {
    let contexts = (checksums, segmentation)
    self = E1000Transmission()
    (checksums, segmentation) = contexts
  }

  var isPlausible: Bool {
    checksums.isPlausible && segmentation.isPlausible && header.count <= 0xFF && bytes.count <= 0x10000
      && (0...0x10_0000).contains(taken)
  }
}

/// A transmit descriptor (3.3.3 to 3.3.7).
private struct TransmitDescriptor {
  let address: UInt64
  private let fields: UInt64

  init(_ memory: PhysicalMemory, at place: UInt64) {
    address = memory.read(place, as: UInt64.self)
    fields = memory.read(place &+ 8, as: UInt64.self)
  }

  var isExtended: Bool { fields >> 29 & 1 != 0 }
  var isContext: Bool { isExtended && fields >> 20 & 15 == 0 }
  var isData: Bool { isExtended && fields >> 20 & 15 == 1 }
  var length: Int { Int(isExtended ? fields & 0xF_FFFF : fields & 0xFFFF) }
  var endsPacket: Bool { fields >> 24 & 1 != 0 }
  /// TSE of data and context descriptors; of a legacy descriptor the same bit is IC: insert checksum.
  var isSegmented: Bool { fields >> 26 & 1 != 0 }
  var insertsChecksum: Bool { !isExtended && isSegmented }
  var reportsStatus: Bool { fields >> 27 & 1 != 0 || (!isExtended && fields >> 28 & 1 != 0) }
  var hasTag: Bool { fields >> 30 & 1 != 0 }
  var isDelayed: Bool { fields >> 31 & 1 != 0 }
  var checksumOffset: Int { Int(fields >> 16 & 0xFF) }
  var checksumStart: Int { Int(fields >> 40 & 0xFF) }
  var options: UInt64 { fields >> 40 & 0xFF }
  var special: UInt16 { UInt16(truncatingIfNeeded: fields >> 48) }

  var context: E1000Transmission.Context {
    func byte(_ value: UInt64, _ shift: UInt64) -> Int { Int(value >> shift & 0xFF) }
    return E1000Transmission.Context(
      ipStart: byte(address, 0), ipOffset: byte(address, 8), ipEnd: Int(address >> 16 & 0xFFFF),
      transportStart: byte(address, 32), transportOffset: byte(address, 40), transportEnd: Int(address >> 48),
      isTCP: fields >> 24 & 1 != 0, isIPv4: fields >> 25 & 1 != 0, headerLength: byte(fields, 40),
      segmentSize: Int(fields >> 48))
  }
}

extension E1000Core {
  /// How far one call of `transmit` goes.
  enum Transmission: Equatable {
    /// The ring is empty, or the transmitter is off.
    case idle
    /// The network takes no more at present: to be called again when it does.
    case stalled
    /// It has done a call's share; there is more.
    case unfinished
  }

  /// Bytes of frames and descriptors that one call moves at most, so that the machine lock is not held for long whatever the
  /// guest has put into its ring.
  static let transmitBudget = 1 << 20

  /// Takes frames out of the guest's ring.
  /// - Parameters: hasRoom: whether the network takes a frame. send: called with each frame, without its CRC.
  mutating func transmit(
    memory: PhysicalMemory, now: UInt64, hasRoom: () -> Bool, send: ([UInt8]) -> Void
  ) -> Transmission {
    guard state.transmitControl.contains(.enable), !state.transmitRing.isEmpty else { return .idle }
    var budget = Self.transmitBudget
    while !state.transmitRing.isEmpty {
      guard budget > 0 else { return .unfinished }
      guard hasRoom() else { return .stalled }
      let place = state.transmitRing.address()
      let descriptor = TransmitDescriptor(memory, at: place)
      budget -= 256
      if descriptor.isContext {
        if !state.transmission.isOpen { load(descriptor) }
      } else {
        let length = descriptor.length
        if !state.transmission.isOpen { begin(descriptor) }
        let (piece, isWhole) = take(descriptor, length, memory: memory, send: send)
        budget -= piece
        guard isWhole else { continue }
        if descriptor.endsPacket { finish(descriptor, send: send) }
      }
      state.transmission.taken = 0
      if descriptor.reportsStatus {
        // DD, in the status nibble of the descriptor's thirteenth byte.
        memory.write(place &+ 12, memory.read(place &+ 12, as: UInt8.self) | 1)
        descriptorDone(isDelayed: descriptor.isDelayed, now: now)
      }
      state.transmitRing.advance()
      raiseLowTransmitDescriptors(now: now)
    }
    raise(.transmitQueueEmpty, now: now)
    return .idle
  }

  private mutating func raiseLowTransmitDescriptors(now: UInt64) {
    let threshold = (state.plain[E1000Register.txdctlIndex] >> 25) * 8
    if threshold != 0 && state.transmitRing.available == threshold { raise(.transmitDescriptorsLow, now: now) }
  }

  private mutating func load(_ descriptor: TransmitDescriptor) {
    if descriptor.isSegmented {
      state.transmission.segmentation = descriptor.context
      count(E1000Statistic.segmentedContexts)
    } else {
      state.transmission.checksums = descriptor.context
    }
  }

  /// The options of a packet are those of its first descriptor.
  private mutating func begin(_ descriptor: TransmitDescriptor) {
    state.transmission.forgetPacket()
    state.transmission.isOpen = true
    guard descriptor.isData else { return }
    state.transmission.isSegmented = descriptor.isSegmented
    state.transmission.insertsIPChecksum = descriptor.options & 1 != 0
    state.transmission.insertsTransportChecksum = descriptor.options & 2 != 0
    if descriptor.hasTag { state.transmission.tag = descriptor.special }
  }

  /// Takes the next piece of a descriptor's buffer, up to what completes a header or a segment.
  /// - Returns: its bytes, and whether the descriptor is used up.
  private mutating func take(
    _ descriptor: TransmitDescriptor, _ length: Int, memory: PhysicalMemory, send: ([UInt8]) -> Void
  ) -> (Int, Bool) {
    let left = length - state.transmission.taken
    guard left > 0 else { return (0, true) }
    let context = state.transmission.segmentation
    var want = left
    let fillsHeader = state.transmission.isSegmented && state.transmission.header.count < context.headerLength
    if fillsHeader {
      want = min(want, context.headerLength - state.transmission.header.count)
    } else if state.transmission.isSegmented {
      // A whole segment that is followed by more goes out; the last one is for `finish`, which knows that it is.
      if state.transmission.bytes.count >= max(1, context.segmentSize) { sendSegment(isLast: false, send: send) }
      want = min(want, max(1, context.segmentSize) - state.transmission.bytes.count)
    } else if state.transmission.bytes.count + left > E1000Transmission.frameLimit {
      state.transmission.isTooLong = true
      state.transmission.bytes.removeAll()
      return (0, true)
    }
    if state.transmission.isTooLong { return (0, true) }
    let address = descriptor.address &+ UInt64(state.transmission.taken)
    if fillsHeader {
      Self.append(want, from: address, to: &state.transmission.header, memory: memory)
    } else {
      Self.append(want, from: address, to: &state.transmission.bytes, memory: memory)
    }
    state.transmission.taken += want
    return (want, want == left)
  }

  private static func append(_ count: Int, from address: UInt64, to bytes: inout [UInt8], memory: PhysicalMemory) {
    let piece = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      memory.read(address, into: UnsafeMutableRawBufferPointer(buffer))
      initialized = count
    }
    if bytes.isEmpty { bytes = piece } else { bytes.append(contentsOf: piece) }
  }

  /// The packet's last descriptor has been taken.
  private mutating func finish(_ descriptor: TransmitDescriptor, send: ([UInt8]) -> Void) {
    defer { state.transmission.forgetPacket() }
    guard !state.transmission.isTooLong else { return }
    if state.transmission.isSegmented { return sendSegment(isLast: true, send: send) }
    var frame = state.transmission.bytes
    if descriptor.isExtended {
      insertChecksums(&frame, state.transmission.checksums)
    } else {
      // Legacy descriptors say it in the last one (3.3.3).
      if descriptor.hasTag { state.transmission.tag = descriptor.special }
      if descriptor.insertsChecksum {
        Self.insert(&frame, at: descriptor.checksumOffset, from: descriptor.checksumStart, end: 0)
      }
    }
    emit(frame, send: send)
  }

  // MARK: Segmentation

  /// Sends header and payload gathered so far as one segment (3.5): lengths, identification, sequence number and flags in its
  /// headers are its own.
  private mutating func sendSegment(isLast: Bool, send: ([UInt8]) -> Void) {
    let context = state.transmission.segmentation
    var frame = state.transmission.header + state.transmission.bytes
    let (ip, transport) = (context.ipStart, context.transportStart)
    if context.isIPv4 {
      if ip + 6 <= frame.count {
        frame.setWord(at: ip + 2, UInt16(truncatingIfNeeded: frame.count - ip))
        frame.setWord(
          at: ip + 4, frame.word(at: ip + 4) &+ UInt16(truncatingIfNeeded: state.transmission.segments))
      }
    } else if ip + 6 <= frame.count {
      frame.setWord(at: ip + 4, UInt16(truncatingIfNeeded: max(0, frame.count - ip - 40)))
    }
    if context.isTCP {
      if transport + 14 <= frame.count {
        frame.setLong(at: transport + 4, frame.long(at: transport + 4) &+ state.transmission.sent)
        // FIN and PSH belong to the last segment.
        if !isLast { frame[transport + 13] &= ~0x09 }
      }
    } else if transport + 6 <= frame.count {
      frame.setWord(at: transport + 4, UInt16(truncatingIfNeeded: frame.count - transport))
    }
    // Software has put the pseudo header's sum there without the length, which differs from segment to segment (3.5.6).
    let place = context.transportOffset
    if state.transmission.insertsTransportChecksum, place + 2 <= frame.count {
      let length = UInt16(truncatingIfNeeded: max(0, frame.count - transport))
      frame.setWord(at: place, InternetChecksum.add(frame.word(at: place), length))
    }
    insertChecksums(&frame, context)
    state.transmission.segments &+= 1
    state.transmission.sent &+= UInt32(state.transmission.bytes.count)
    state.transmission.bytes.removeAll(keepingCapacity: true)
    emit(frame, send: send)
  }

  private func insertChecksums(_ frame: inout [UInt8], _ context: E1000Transmission.Context) {
    if state.transmission.insertsTransportChecksum {
      Self.insert(&frame, at: context.transportOffset, from: context.transportStart, end: context.transportEnd)
    }
    if state.transmission.insertsIPChecksum {
      Self.insert(&frame, at: context.ipOffset, from: context.ipStart, end: context.ipEnd)
    }
  }

  /// Puts the checksum of the bytes from `start` on, up to and with `end` (0: the packet's last), at `place`. What stood there
  /// counts as well.
  private static func insert(_ frame: inout [UInt8], at place: Int, from start: Int, end: Int) {
    let limit = end == 0 ? frame.count : min(frame.count, end + 1)
    guard start < limit, place + 2 <= frame.count else { return }
    let sum = ~InternetChecksum.sum(frame, from: start, to: limit)
    // UDP knows 0 as "none" (RFC 768); for the others 0 and its complement are the same.
    frame.setWord(at: place, sum == 0 ? 0xFFFF : sum)
  }

  // MARK: Out

  private mutating func emit(_ frame: [UInt8], send: ([UInt8]) -> Void) {
    guard frame.count >= 14 else { return }
    var frame = frame
    if let tag = state.transmission.tag, state.control.contains(.vlanMode) {
      let type = UInt16(truncatingIfNeeded: state.plain[E1000Register.vetIndex])
      frame.insert(contentsOf: [UInt8(type >> 8), UInt8(type & 0xFF), UInt8(tag >> 8), UInt8(tag & 0xFF)], at: 12)
    }
    if frame.count < 60, state.transmitControl.contains(.padShort) {
      frame.append(contentsOf: repeatElement(0, count: 60 - frame.count))
    }
    // Without a link nothing leaves.
    guard isLinked || state.phy.isLoopback || state.receiveControl.isLoopback else { return }
    let wireLength = frame.count + 4
    count(E1000Statistic.transmitted64 + E1000Statistic.sizeClass(wireLength))
    count(E1000Statistic.goodTransmitted)
    count(E1000Statistic.totalTransmitted)
    count(octets: wireLength, at: E1000Statistic.goodOctetsTransmitted)
    count(octets: wireLength, at: E1000Statistic.octetsTransmitted)
    if frame[0] & 1 != 0 {
      let isBroadcast = frame[0..<6].allSatisfy { $0 == 0xFF }
      count(isBroadcast ? E1000Statistic.broadcastTransmitted : E1000Statistic.multicastTransmitted)
    }
    send(frame)
  }

  /// What is sent comes back instead of leaving.
  var isLoopback: Bool { state.phy.isLoopback || state.receiveControl.isLoopback }
}
