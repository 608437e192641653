import CHost

/// CLI, STI, PUSHF, POPF and their virtual-8086 and protected-mode virtual interrupt forms (Intel SDM vol. 3B, 21.3).
extension CPU {
  /// Whether CLI and STI act on VIF: in V86 mode under CR4.VME, at CPL 3 under CR4.PVI, with IOPL below 3.
  private var usesVirtualIF: Bool {
    if isV86 { return s.pointee.cr4 & CR4.vme != 0 && ioPrivilege < 3 }
    return isProtected && s.pointee.cpl == 3 && s.pointee.cr4 & CR4.pvi != 0 && ioPrivilege < 3
  }

  func clearInterruptFlag() throws(GuestFault) {
    if usesVirtualIF {
      s.pointee.eflags &= ~EFLAGS.vif
      return
    }
    guard s.pointee.cpl <= ioPrivilege else { throw .protection(0) }
    s.pointee.eflags &= ~EFLAGS.if
  }

  func setInterruptFlag() throws(GuestFault) {
    if usesVirtualIF {
      guard s.pointee.eflags & EFLAGS.vip == 0 else { throw .protection(0) }
      s.pointee.eflags |= EFLAGS.vif
      return
    }
    guard s.pointee.cpl <= ioPrivilege else { throw .protection(0) }
    if s.pointee.eflags & EFLAGS.if == 0 {
      s.pointee.eflags |= EFLAGS.if
      startShadow(stack: false)
    }
  }

  func pushFlags(size: Int) throws(GuestFault) {
    var image = flagsImage() & ~(EFLAGS.vm | EFLAGS.rf)
    if isV86 && ioPrivilege < 3 {
      guard s.pointee.cr4 & CR4.vme != 0, size == 2 else { throw .protection(0) }
      image |= EFLAGS.iopl
      image = s.pointee.eflags & EFLAGS.vif != 0 ? image | EFLAGS.if : image & ~EFLAGS.if
    }
    var stack = currentStack()
    try push(&stack, image, size)
    commit(stack)
  }

  func popFlags(size: Int) throws(GuestFault) {
    let virtual = isV86 && ioPrivilege < 3
    if virtual && (s.pointee.cr4 & CR4.vme == 0 || size != 2) { throw .protection(0) }
    var stack = currentStack()
    var image = try pop(&stack, size)
    var mask = EFLAGS.arithmetic | EFLAGS.tf | EFLAGS.df | EFLAGS.nt
    if size != 2 { mask |= EFLAGS.ac | EFLAGS.id | EFLAGS.rf }
    if virtual {
      let wantsPending = image & EFLAGS.if != 0 && s.pointee.eflags & EFLAGS.vip != 0
      if wantsPending || image & EFLAGS.tf != 0 { throw .protection(0) }
      mask |= EFLAGS.vif
      image = image & EFLAGS.if != 0 ? image | EFLAGS.vif : image & ~EFLAGS.vif
    } else {
      if s.pointee.cpl <= ioPrivilege { mask |= EFLAGS.if }
      if s.pointee.cpl == 0 { mask |= EFLAGS.iopl }
    }
    // RF is always cleared.
    image &= ~EFLAGS.rf
    commit(stack)
    writeFlags(image, mask: mask)
    updateMode()
  }
}
