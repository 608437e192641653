import CHost

/// Bits of `vm_segment.attributes`: descriptor bits 40 to 55.
enum SegmentAttributes {
  static let accessed: UInt16 = 1 << 0
  static let writable: UInt16 = 1 << 1  // readable, of a code segment
  static let conforming: UInt16 = 1 << 2  // expand-down, of a data segment
  static let code: UInt16 = 1 << 3
  static let segment: UInt16 = 1 << 4  // S: not a system descriptor
  static let present: UInt16 = 1 << 7
  static let long: UInt16 = 1 << 13
  static let big: UInt16 = 1 << 14
  static let granular: UInt16 = 1 << 15
  /// What real mode and power-on give every segment register: present, read and write, accessed.
  static let real: UInt16 = 0x93
  static let v86: UInt16 = 0xf3
}

/// Types of system descriptors (Intel SDM vol. 3A, table 3-2).
enum SystemType {
  static let tss16: UInt16 = 1
  static let ldt: UInt16 = 2
  static let busyTSS16: UInt16 = 3
  static let callGate16: UInt16 = 4
  static let taskGate: UInt16 = 5
  static let interruptGate16: UInt16 = 6
  static let trapGate16: UInt16 = 7
  static let tss32: UInt16 = 9
  static let busyTSS32: UInt16 = 11
  static let callGate32: UInt16 = 12
  static let interruptGate32: UInt16 = 14
  static let trapGate32: UInt16 = 15
}

/// Eight bytes of a descriptor table, and the next eight of a 16-byte one.
struct Descriptor {
  var low: UInt64
  var high: UInt64 = 0
  /// Linear address.
  var address: UInt64

  @inline(__always)
  var attributes: UInt16 { UInt16(truncatingIfNeeded: low &>> 40) & 0xf0ff }
  @inline(__always)
  var isSegment: Bool { low & 1 << 44 != 0 }
  @inline(__always)
  var isPresent: Bool { low & 1 << 47 != 0 }
  @inline(__always)
  var dpl: UInt32 { UInt32(truncatingIfNeeded: low &>> 45 & 3) }
  /// Type of a system descriptor.
  @inline(__always)
  var systemType: UInt16 { UInt16(truncatingIfNeeded: low &>> 40 & 15) }
  @inline(__always)
  var isCode: Bool { isSegment && low & 1 << 43 != 0 }
  @inline(__always)
  var isData: Bool { isSegment && low & 1 << 43 == 0 }
  /// Conforming, of a code segment.
  @inline(__always)
  var isConforming: Bool { low & 1 << 42 != 0 }
  /// Writable data or readable code.
  @inline(__always)
  var isWritable: Bool { low & 1 << 41 != 0 }
  @inline(__always)
  var isLong: Bool { low & 1 << 53 != 0 }
  @inline(__always)
  var isBig: Bool { low & 1 << 54 != 0 }

  var base: UInt64 { (low &>> 16 & 0xff_ffff) | (low &>> 32 & 0xff00_0000) | (high & 0xffff_ffff) &<< 32 }
  var limit: UInt32 {
    let raw = UInt32(truncatingIfNeeded: (low & 0xffff) | (low &>> 32 & 0xf_0000))
    return low & 1 << 55 != 0 ? raw &<< 12 | 0xfff : raw
  }

  // Gates
  var gateSelector: UInt16 { UInt16(truncatingIfNeeded: low &>> 16) }
  var gateOffset: UInt64 { (low & 0xffff) | (low &>> 32 & 0xffff_0000) | (high & 0xffff_ffff) &<< 32 }
  var gateParameters: Int { Int(low &>> 32 & 31) }
  var gateStackTable: Int { Int(low &>> 32 & 7) }

  /// The hidden part that loading this descriptor gives.
  func register(_ selector: UInt16) -> vm_segment {
    vm_segment(base: base, limit: limit, selector: selector, attributes: attributes)
  }
}

extension UInt16 {
  /// The selector as an error code has it, without RPL.
  @inline(__always)
  var errorCode: UInt32 { UInt32(self & 0xfffc) }
  @inline(__always)
  var rpl: UInt32 { UInt32(self & 3) }
  @inline(__always)
  var isNullSelector: Bool { self & 0xfffc == 0 }
}

extension CPU {
  /// Linear address of a selector's descriptor of `size` bytes; nil when it lies outside its table.
  func descriptorAddress(_ selector: UInt16, size: UInt64 = 8) -> UInt64? {
    let offset = UInt64(selector & 0xfff8)
    if selector & 4 == 0 {
      return offset &+ size &- 1 <= UInt64(s.pointee.gdtr.limit) ? s.pointee.gdtr.base &+ offset : nil
    }
    let table = segmentRegister(Seg.ldtr).pointee
    guard table.attributes & SegmentAttributes.present != 0 else { return nil }
    return offset &+ size &- 1 <= UInt64(table.limit) ? table.base &+ offset : nil
  }

  /// The descriptor of `selector`; nil when it lies outside its table. Reading may fault.
  func readDescriptor(_ selector: UInt16) throws(GuestFault) -> Descriptor? {
    guard let address = descriptorAddress(selector) else { return nil }
    return Descriptor(low: try loadSupervisor(address, as: UInt64.self), address: address)
  }

  /// The descriptor, or #GP(selector).
  func requireDescriptor(_ selector: UInt16, ext: UInt32 = 0) throws(GuestFault) -> Descriptor {
    guard let found = try readDescriptor(selector) else { throw .protection(selector.errorCode | ext) }
    return found
  }

  /// Reads the second half of a 16-byte descriptor (long mode); nil outside the table.
  func extend(_ descriptor: Descriptor, _ selector: UInt16) throws(GuestFault) -> Descriptor? {
    guard descriptorAddress(selector, size: 16) != nil else { return nil }
    var wide = descriptor
    wide.high = try loadSupervisor(descriptor.address &+ 8, as: UInt64.self)
    return wide
  }

  /// Sets the accessed bit of a code or data descriptor in memory, and in the copy.
  func markAccessed(_ descriptor: inout Descriptor) throws(GuestFault) {
    guard descriptor.low & 1 << 40 == 0 else { return }
    let type = try loadSupervisor(descriptor.address &+ 5, as: UInt8.self)
    try storeSupervisor(descriptor.address &+ 5, type | 1)
    descriptor.low |= 1 << 40
  }

  /// Marks a TSS descriptor busy or available.
  func setBusy(_ address: UInt64, _ busy: Bool) throws(GuestFault) {
    let type = try loadSupervisor(address &+ 5, as: UInt8.self)
    try storeSupervisor(address &+ 5, busy ? type | 2 : type & ~2)
  }

  // MARK: Segment registers

  /// Loads ES, SS, DS, FS or GS as MOV, POP and the far pointer loads do (Intel SDM vol. 2, MOV).
  func loadSegment(_ segment: Int, selector: UInt16) throws(GuestFault) {
    let register = segmentRegister(segment)
    guard isProtected else {
      loadRealSegment(segment, selector)
      updateMode()
      return
    }
    if selector.isNullSelector {
      if segment == Seg.ss {
        guard isCode64, s.pointee.cpl != 3, selector.rpl == s.pointee.cpl else { throw .protection(0) }
        register.pointee = nullStack(selector, cpl: s.pointee.cpl)
      } else {
        register.pointee = vm_segment(base: 0, limit: register.pointee.limit, selector: selector, attributes: 0)
      }
      updateMode()
      return
    }
    var descriptor = try requireDescriptor(selector)
    if segment == Seg.ss {
      try checkStack(descriptor, selector, cpl: s.pointee.cpl) { code in .protection(code) }
    } else {
      try checkData(descriptor, selector, cpl: s.pointee.cpl)
    }
    try markAccessed(&descriptor)
    register.pointee = descriptor.register(selector)
    updateMode()
  }

  /// Real mode keeps limit and attributes (so that "unreal" segments last); virtual-8086 mode sets them.
  func loadRealSegment(_ segment: Int, _ selector: UInt16) {
    let register = segmentRegister(segment)
    register.pointee.selector = selector
    register.pointee.base = UInt64(selector) &<< 4
    if isV86 || s.pointee.eflags & EFLAGS.vm != 0 {
      register.pointee.limit = 0xffff
      register.pointee.attributes = SegmentAttributes.v86
    } else {
      let kept = register.pointee.attributes & (SegmentAttributes.big | SegmentAttributes.granular)
      register.pointee.attributes = kept | SegmentAttributes.real
    }
  }

  /// A null SS, as 64-bit mode allows it below CPL 3. Its DPL keeps the CPL.
  func nullStack(_ selector: UInt16, cpl: UInt32) -> vm_segment {
    vm_segment(base: 0, limit: 0xffff_ffff, selector: selector, attributes: UInt16(cpl) &<< 5)
  }

  /// Checks a stack segment for `cpl`; `refuse` makes #GP or #TS of the selector's error code.
  func checkStack(
    _ descriptor: Descriptor, _ selector: UInt16, cpl: UInt32, ext: UInt32 = 0,
    refuse: (UInt32) -> GuestFault
  ) throws(GuestFault) {
    let code = selector.errorCode | ext
    guard selector.rpl == cpl, descriptor.isData, descriptor.isWritable, descriptor.dpl == cpl else {
      throw refuse(code)
    }
    guard descriptor.isPresent else { throw .stack(code) }
  }

  private func checkData(_ descriptor: Descriptor, _ selector: UInt16, cpl: UInt32) throws(GuestFault) {
    guard descriptor.isSegment, descriptor.isData || descriptor.isWritable else {
      throw .protection(selector.errorCode)
    }
    let isConformingCode = descriptor.isCode && descriptor.isConforming
    if !isConformingCode && descriptor.dpl < max(cpl, selector.rpl) { throw .protection(selector.errorCode) }
    guard descriptor.isPresent else { throw .notPresent(selector.errorCode) }
  }

  /// After a return to an outer level: data segments that the new CPL may not use become null. The hidden base stays what
  /// it was (Intel SDM vol. 2A, IRET: the selector and the valid bit are cleared): 64-bit code goes on using that of FS and GS.
  func dropInnerDataSegments(cpl: UInt32) {
    for segment in [Seg.es, Seg.ds, Seg.fs, Seg.gs] {
      let register = segmentRegister(segment)
      let attributes = register.pointee.attributes
      let isConformingCode = attributes & 0xc == 0xc
      let isNull = register.pointee.selector.isNullSelector
      if isNull || (!isConformingCode && UInt32(attributes &>> 5 & 3) < cpl) {
        register.pointee.selector = 0
        register.pointee.attributes = 0
      }
    }
  }

  // MARK: LDTR and TR

  func loadLDTR(_ selector: UInt16) throws(GuestFault) {
    let register = segmentRegister(Seg.ldtr)
    if selector.isNullSelector {
      register.pointee = vm_segment(base: 0, limit: 0, selector: selector, attributes: 0)
      return
    }
    let code = selector.errorCode
    guard selector & 4 == 0, var descriptor = try readDescriptor(selector) else { throw .protection(code) }
    guard !descriptor.isSegment, descriptor.systemType == SystemType.ldt else { throw .protection(code) }
    guard descriptor.isPresent else { throw .notPresent(code) }
    if isLongMode {
      guard let wide = try extend(descriptor, selector), wide.high &>> 40 & 0x1f == 0, CPU.isCanonical(wide.base) else {
        throw .protection(code)
      }
      descriptor = wide
    }
    register.pointee = descriptor.register(selector)
  }

  func loadTR(_ selector: UInt16) throws(GuestFault) {
    let code = selector.errorCode
    guard !selector.isNullSelector else { throw .protection(0) }
    guard selector & 4 == 0, var descriptor = try readDescriptor(selector) else { throw .protection(code) }
    let type = descriptor.systemType
    let isFree = type == SystemType.tss32 || (type == SystemType.tss16 && !isLongMode)
    guard !descriptor.isSegment, isFree else { throw .protection(code) }
    guard descriptor.isPresent else { throw .notPresent(code) }
    if isLongMode {
      guard let wide = try extend(descriptor, selector), wide.high &>> 40 & 0x1f == 0, CPU.isCanonical(wide.base) else {
        throw .protection(code)
      }
      descriptor = wide
    }
    try setBusy(descriptor.address, true)
    descriptor.low |= 2 << 40
    segmentRegister(Seg.tr).pointee = descriptor.register(selector)
  }
}
