import GuestMemory

/// The rings of descriptors: frames out of the guest's buffers and into them ("Buffer Management").
extension PCNetCore {
  private typealias Descriptor = PCNetRegister.Descriptor
  private typealias Mode = PCNetRegister.Mode

  /// Registers of one ring: base, negative length, negative counter of what is left of it.
  private struct Ring {
    let base: Int
    let length: Int
    let counter: Int
    static let receive = Ring(base: 24, length: 76, counter: 72)
    static let transmit = Ring(base: 30, length: 78, counter: 74)
  }

  private func count(_ ring: Ring) -> Int { 0x10000 - Int(state.csr[ring.length]) }

  /// The place of the next descriptor in its ring.
  private func position(_ ring: Ring) -> Int { Int(state.csr[ring.counter] &- state.csr[ring.length]) % count(ring) }

  private mutating func advance(_ ring: Ring, by places: Int) {
    let position = (position(ring) + places) % count(ring)
    state.csr[ring.counter] = state.csr[ring.length] &+ UInt16(truncatingIfNeeded: position)
  }

  private func place(_ ring: Ring, _ index: Int) -> UInt64 {
    let base = UInt64(state.csr[ring.base + 1]) << 16 | UInt64(state.csr[ring.base])
    return (base & ~7) &+ UInt64((position(ring) + index) % count(ring) * (usesWideStyle ? 16 : 8))
  }

  private func read(_ place: UInt64, _ memory: PhysicalMemory) -> PCNetDescriptor {
    var words: (UInt64, UInt64) = (0, 0)
    let isWide = usesWideStyle
    withUnsafeMutableBytes(of: &words) {
      memory.read(place, into: UnsafeMutableRawBufferPointer(rebasing: $0[..<(isWide ? 16 : 8)]))
    }
    let (first, second) = (UInt64(littleEndian: words.0), UInt64(littleEndian: words.1))
    switch state.bcr[20] & 0xFF {
    case 2:
      return PCNetDescriptor(
        address: UInt32(truncatingIfNeeded: first), status: UInt32(truncatingIfNeeded: first >> 32))
    case 3:
      return PCNetDescriptor(
        address: UInt32(truncatingIfNeeded: second), status: UInt32(truncatingIfNeeded: first >> 32))
    default:
      let high = UInt32(state.csr[2] >> 8) << 24
      return PCNetDescriptor(
        address: UInt32(truncatingIfNeeded: first) & 0xFF_FFFF | high,
        status: UInt32(truncatingIfNeeded: first) & 0xFF00_0000 | UInt32(truncatingIfNeeded: first >> 32) & 0xFFF)
    }
  }

  /// Gives a descriptor back: with its status, and for a frame received its length.
  private func write(_ place: UInt64, status: UInt32, length: Int? = nil, _ memory: PhysicalMemory) {
    switch state.bcr[20] & 0xFF {
    case 2, 3:
      let lengthPlace = place &+ (state.bcr[20] & 0xFF == 2 ? 8 : 0)
      if let length { memory.write(lengthPlace, UInt32(length)) }
      memory.write(place &+ 4, status)
    default:
      if let length { memory.write(place &+ 6, UInt16(length)) }
      memory.write(place &+ 3, UInt8(status >> 24))
    }
  }

  // MARK: Transmission

  enum Transmission: Equatable {
    /// The ring is empty, or the transmitter off.
    case idle
    /// The wire takes no more at present.
    case stalled
    /// A share has been done; there is more.
    case unfinished
  }

  /// Bytes of frames and descriptors that one call moves at most.
  static let transmitBudget = 1 << 20

  /// Takes frames out of the guest's ring.
  mutating func transmit(_ memory: PhysicalMemory, hasRoom: () -> Bool, send: ([UInt8]) -> Void) -> Transmission {
    var budget = Self.transmitBudget
    while isTransmitting {
      guard budget > 0 else { return .unfinished }
      guard read(place(.transmit, 0), memory).has(Descriptor.own) else { return .idle }
      guard hasRoom() else { return .stalled }
      guard let used = takeFrame(memory, send: send) else { return .idle }
      budget -= used
    }
    return .idle
  }

  /// Takes the frame at the head of the ring, if all of it is there.
  /// - Returns: what it costs of a call's share.
  private mutating func takeFrame(_ memory: PhysicalMemory, send: ([UInt8]) -> Void) -> Int? {
    var descriptors: [(place: UInt64, descriptor: PCNetDescriptor)] = []
    var length = 0
    repeat {
      guard descriptors.count < count(.transmit) else { break }
      let place = place(.transmit, descriptors.count)
      let descriptor = read(place, memory)
      guard descriptor.has(Descriptor.own) else { return nil }
      descriptors.append((place, descriptor))
      length += descriptor.length
    } while descriptors.last?.descriptor.has(Descriptor.end) == false && length <= Self.frameLimit
    guard let first = descriptors.first?.descriptor, let last = descriptors.last?.descriptor else { return nil }
    // What has no beginning, or no end within reason, is no frame.
    if first.has(Descriptor.start), last.has(Descriptor.end), length <= Self.frameLimit {
      emit(descriptors.map(\.descriptor), length, memory, send: send)
    }
    for (place, descriptor) in descriptors {
      write(place, status: descriptor.status & ~(Descriptor.own | Descriptor.error), memory)
    }
    advance(.transmit, by: descriptors.count)
    // With LTINTEN only frames that ask for it interrupt ("CSR5").
    let extended = state.csr[5]
    let asks = extended & PCNetRegister.Extended.lastTransmitInterrupt == 0 || last.has(Descriptor.interruptWanted)
    if extended & PCNetRegister.Extended.noTransmitInterrupt == 0, asks { status.insert(.transmitted) }
    return length + 256 * descriptors.count
  }

  private mutating func emit(
    _ descriptors: [PCNetDescriptor], _ length: Int, _ memory: PhysicalMemory, send: ([UInt8]) -> Void
  ) {
    var frame = [UInt8](unsafeUninitializedCapacity: length) { buffer, initialized in
      var done = 0
      for descriptor in descriptors {
        memory.read(
          UInt64(descriptor.address),
          into: UnsafeMutableRawBufferPointer(
            UnsafeMutableBufferPointer(rebasing: buffer[done..<done + descriptor.length])))
        done += descriptor.length
      }
      initialized = length
    }
    // With DXMTFCS the frame brings its check sequence, unless its descriptor says otherwise.
    if state.csr[15] & Mode.noTransmitFCS != 0, !descriptors[0].has(Descriptor.addFCS) {
      frame.removeLast(min(4, frame.count))
    }
    guard frame.count >= 14 else { return }
    if frame.count < 60, state.csr[4] & PCNetRegister.Features.padTransmitted != 0 {
      frame.append(contentsOf: repeatElement(0, count: 60 - frame.count))
    }
    state.csr[4] |= PCNetRegister.Features.transmitStart
    if isLoopback || state.hasCarrier { send(frame) }
  }

  // MARK: Reception

  enum Reception: Equatable { case delivered, discarded, noRoom }

  /// Whether the guest has a buffer for what comes next.
  func hasReceiveBuffer(_ memory: PhysicalMemory) -> Bool {
    !isReceiving || read(place(.receive, 0), memory).has(Descriptor.own)
  }

  mutating func receive(_ frame: [UInt8], _ memory: PhysicalMemory) -> Reception {
    guard isReceiving, frame.count >= 14, let match = match(frame) else { return .discarded }
    var frame = frame
    if frame.count < 60 { frame.append(contentsOf: repeatElement(0, count: 60 - frame.count)) }
    frame.append(contentsOf: EthernetCRC.bytes(of: frame))
    guard frame.count <= 0xFFF else { return .discarded }
    var buffers: [(place: UInt64, descriptor: PCNetDescriptor)] = []
    var room = 0
    while room < frame.count {
      // A ring that is too small for it altogether will never have room.
      guard buffers.count < count(.receive) else { return .discarded }
      let place = place(.receive, buffers.count)
      let descriptor = read(place, memory)
      guard descriptor.has(Descriptor.own) else { return .noRoom }
      buffers.append((place, descriptor))
      room += descriptor.length
    }
    store(frame, match: match, in: buffers, memory)
    return .delivered
  }

  private mutating func store(
    _ frame: [UInt8], match: UInt32, in buffers: [(place: UInt64, descriptor: PCNetDescriptor)],
    _ memory: PhysicalMemory
  ) {
    var done = 0
    for (index, buffer) in buffers.enumerated() {
      let part = min(buffer.descriptor.length, frame.count - done)
      frame.withUnsafeBytes {
        memory.write(UInt64(buffer.descriptor.address), from: UnsafeRawBufferPointer(rebasing: $0[done..<done + part]))
      }
      done += part
      let isLast = index == buffers.count - 1
      var status = buffer.descriptor.status & 0xFFFF
      if index == 0 { status |= Descriptor.start }
      if isLast { status |= Descriptor.end | (usesWideStyle ? match : 0) }
      write(buffer.place, status: status, length: isLast ? frame.count : nil, memory)
    }
    advance(.receive, by: buffers.count)
    status.insert(.received)
  }

  /// How a frame's destination matches, or nil ("Address Matching").
  private func match(_ frame: [UInt8]) -> UInt32? {
    let mode = state.csr[15]
    let isBroadcast = frame[0..<6].allSatisfy { $0 == 0xFF }
    if isBroadcast, mode & Mode.noBroadcast == 0 { return Descriptor.broadcastMatch }
    if frame[0] & 1 == 0 {
      let isOwn = (0..<3).allSatisfy {
        state.csr[12 + $0] == UInt16(frame[$0 * 2]) | UInt16(frame[$0 * 2 + 1]) << 8
      }
      if isOwn, mode & Mode.noPhysical == 0 { return Descriptor.physicalMatch }
    } else if !isBroadcast {
      let bit = EthernetCRC.lowHash(of: frame)
      if state.csr[8 + (bit >> 4)] >> UInt16(bit & 15) & 1 != 0 { return Descriptor.logicalMatch }
    }
    return mode & Mode.promiscuous != 0 ? 0 : nil
  }
}
